"""Let the disk be full after so many bytes: by a limit on files' sizes or on a small tmpfs."""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from overwrites import MAP, STAR, prepare
from small_jobs import JOBS, MAPS, Ended, Tally, clean_failure, content, run, workshop

_WORDS: dict[str, tuple[str, ...]] = {
    "simulate": ("simulate", MAP, "--n", "200"),
    "subtract": ("subtract", STAR, "--map", MAP, "--mask", "data/mask.mrc"),
    "ctf-refine": ("ctf-refine", STAR, "--map", MAP, "--beam-tilt"),
    "reconstruct": ("reconstruct", STAR),
    "refine": JOBS["refine"],
    "classify3d": JOBS["classify3d"],
    "abinit": JOBS["abinit"],
}


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Files of this process's children grow to so many bytes at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def small_disk(size: int) -> Path | None:
    """A tmpfs of so many bytes, if one may be mounted."""
    place = Path("small")
    place.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    return (
        place if subprocess.run(words, capture_output=True, check=False).returncode == 0 else None
    )


def judged(tally: Tally, name: str, ended: Ended, out: Path, what: str) -> None:
    """One line, no half file; a result only if the job succeeded."""
    tally.count += 1
    if ended.code != 0:
        clean_failure(tally, ended, f"{name}, {what}")
    parts = [str(path) for path in out.parent.rglob("*.part")] if out.parent.is_dir() else []
    if parts:
        tally.fault(f"{name}, {what}: left {parts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=4, help="sizes for each command and way")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, tally = random.Random(options.seed), Tally("full disk")
    with workshop(*JOBS) as here:
        prepare()
        for name, words in _WORDS.items():
            for number in range(options.each):
                size = int(10 ** draw.uniform(2, 6.2))
                out = Path(f"limited-{name}-{number}")
                with limited(size):
                    ended = run(*words, "--out", str(out))
                judged(tally, name, ended, out, f"files of {size} bytes at most")
                place = small_disk(size := int(10 ** draw.uniform(4.2, 6.7)))
                if place is not None:
                    try:
                        ended = run(*words, "--out", "small/job")
                        judged(tally, name, ended, place / "job", f"a disk of {size} bytes")
                    finally:
                        subprocess.run(["umount", str(here / "small")], check=True)
        # A former result outlives the disk's being full.
        assert run(*JOBS["refine"], "--out", "job").code == 0
        before = content(Path("job"))[MAPS["refine"]]
        for _ in range(options.each):
            size = int(10 ** draw.uniform(2, 5.5))
            with limited(size):
                ended = run(*JOBS["refine"], "--out", "job", "--overwrite")
            judged(
                tally, "refine --overwrite", ended, Path("job"), f"files of {size} bytes at most"
            )
            if content(Path("job")).get(MAPS["refine"]) != before:
                tally.loss("the former result")
    print(tally.row())


if __name__ == "__main__":
    main()
