"""Jobs on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.exceptions import CycloptsError

from vitreous.cli.app import app
from vitreous.config.shared import RankOptions
from vitreous.config.submit import SubmitConfig
from vitreous.errors import OptionError
from vitreous.report.terminal import print_lines


def _folder_of(job: tuple[str, ...]) -> Path:
    """Folder of a job whose arguments are as they must be."""
    try:
        _, bound, _ = app.parse_args(job, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise OptionError(str(error), where="the job's arguments", hint="mend them") from error
    config = bound.arguments.get("config")
    if not isinstance(config, RankOptions):
        raise OptionError(
            f"{job[0]} does not run on several ranks",
            where="submit",
            hint="submit abinit, classify3d, refine or reconstruct",
        )
    if config.ranks != 1:
        raise OptionError(
            "the job's own --ranks is for one machine",
            where="--ranks",
            hint="leave it out; give --nodes and --gpus before the job",
        )
    return Path(config.out)  # type: ignore[attr-defined]  # all such jobs leave something


@app.command
def submit(
    *job: Annotated[str, Parameter(allow_leading_hyphen=True)],
    config: Annotated[SubmitConfig | None, Parameter(name="*")] = None,
) -> None:
    """Queue a job on a SLURM cluster: vitreous submit --nodes 2 --gpus 4 -- refine good.star ...

    Parameters
    ----------
    job
        The job's name and its options, behind two hyphens that stand alone.
    """
    from vitreous.jobs.submit import submit as queued

    config = config or SubmitConfig()
    if not job:
        raise OptionError(
            "no job is given", where="submit", hint="write it behind --, as in -- refine good.star"
        )
    answer = queued(config, job, _folder_of(job))
    if config.dry_run:
        print_lines(answer)
        return
    print_lines(f"Job {answer} is queued; what it prints goes into {config.logs / answer}.")
