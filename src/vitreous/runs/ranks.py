"""One job on several ranks: processes that torchrun starts, of which the first writes and speaks.

Every rank goes through the whole job.  What the others write goes into a folder of their own, which
is removed at the end; only the first rank's files are kept.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitreous.errors import OptionError, RankLostError, VitreousError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from vitreous.runs.folder import ToFolder


_PATIENCE = timedelta(hours=1)
"""How long ranks wait for each other: the first writes files while the others do nothing."""

_SPOKEN = "vitreous-has-spoken"
"""Name of the counter of ranks that had an error to tell."""

SHORT_FORM = "VITREOUS_RANKS"
"""Environment variable of ranks that --ranks started: the process that did tells how they end."""


def count_of_ranks() -> int:
    """How many ranks this process is one of."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def is_first_rank() -> bool:
    """Whether this is the rank that writes and speaks, or there is but one."""
    return count_of_ranks() == 1 or os.environ["RANK"] == "0"


@dataclass
class _Joined:
    """Where the ranks of this process's job find each other."""

    store: Store | None = None


_joined = _Joined()


def speaks() -> bool:
    """Whether this rank is the one that tells an error: the first that has any."""
    if count_of_ranks() == 1:
        return True
    if _joined.store is None:
        return is_first_rank()
    with suppress(Exception):  # where the store is gone, so is the rank that held it
        return bool(_joined.store.add(_SPOKEN, 1) == 1)
    return is_first_rank()


@contextmanager
def joined_ranks() -> Iterator[None]:
    """Join the other ranks, by gloo for what lies on the host and NCCL for what lies on GPUs.

    Raises
    ------
    VitreousError
        If the ranks do not find each other.
    """
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        store, rank, size = next(rendezvous("env://", timeout=timedelta(minutes=5)))
        # What ranks left in the store before torchrun started them again is none of these ranks'.
        _joined.store = own = PrefixStore(f"vitreous-{_starts_before()}", store)
        backend = "cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise VitreousError(
            f"the ranks do not find each other at {place} ({str(error).splitlines()[0]})",
            hint="give torchrun another --master-port, or --rdzv-endpoint HOST:PORT with a port "
            "that is free",
        ) from error
    try:
        yield
    finally:
        with suppress(RuntimeError):
            dist.destroy_process_group()


@contextmanager
def together() -> Iterator[None]:
    """Say so if another rank has ended in the meantime.

    Raises
    ------
    RankLostError
    """
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(
            "another rank of this job has ended before its time",
            hint="see what it said; go on from the last checkpoint with --resume",
        ) from error


def _checkpoints(config: ToFolder) -> Iterator[tuple[Path, Path]]:
    """Checkpoints that a job resumes from, and their names from its folder."""
    from vitreous.runs.replacement import CHECKPOINT, MICROGRAPHS, PREVIOUS, working_folder

    folder = working_folder(config.out, overwrite=config.overwrite, resume=True)
    for name in (CHECKPOINT, PREVIOUS, MICROGRAPHS):
        for path in folder.rglob(name):
            yield path, path.relative_to(folder)


@contextmanager
def own_folder(config: Any) -> Iterator[Any]:
    """A job's options with a folder that is this rank's own; the first rank's is as asked."""
    if is_first_rank():
        yield config
        return
    with tempfile.TemporaryDirectory(prefix="vitreous-rank-") as place:
        out = Path(place) / "job"
        if getattr(config, "resume", False):
            out.mkdir()
            for path, name in _checkpoints(config):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, out / name)
        yield replace(config, out=out, overwrite=False)


def _starts_before() -> int:
    """How often torchrun has started these ranks before."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def restarted(config: Any) -> Any:
    """A job's options when torchrun starts its ranks again: to go on, or to begin anew.

    What the folder holds then is this job's, as the first start refused a folder in use.
    """
    if not _starts_before():
        return config
    from vitreous.runs.replacement import with_checkpoint

    if hasattr(config, "resume") and with_checkpoint(config.out) is not None:
        return replace(config, resume=True)
    return replace(config, overwrite=True)


def local_ranks() -> int:
    """How many ranks share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if count_of_ranks() > 1 else 1


def gpu_of_rank(gpus: int) -> int:
    """Number of the GPU that is this rank's.

    Raises
    ------
    OptionError
        If there are more ranks than GPUs.
    """
    if local_ranks() > gpus:
        raise OptionError(
            f"{local_ranks()} ranks on a machine with {gpus} GPU{'s' * (gpus > 1)}",
            where="--ranks",
            hint=f"start {gpus} at the most, or give --device cpu",
        )
    return int(os.environ.get("LOCAL_RANK", "0")) if count_of_ranks() > 1 else 0
