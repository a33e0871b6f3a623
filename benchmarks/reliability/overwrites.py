"""Point --out and --overwrite at inputs and at folders with files of the user's, by all names."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from small_jobs import JOBS, Tally, clean_failure, content, run, workshop

STAR, MAP = "data/particles.star", "data/truth.mrc"

_TO_FOLDERS: dict[str, tuple[str, ...]] = {
    **JOBS,
    "simulate": ("simulate", MAP, "--n", "20"),
    "reconstruct": ("reconstruct", STAR),
    "subtract": ("subtract", STAR, "--map", MAP, "--mask", "data/mask.mrc"),
    "ctf-refine": ("ctf-refine", STAR, "--map", MAP, "--defocus"),
    "postprocess": ("postprocess", "data/half1.mrc", "data/half2.mrc"),
    "local-resolution": ("local-resolution", "data/half1.mrc", "data/half2.mrc"),
    "anisotropy": ("anisotropy", "data/half1.mrc", "data/half2.mrc"),
    "model-check": ("model-check", "data/model.pdb", MAP),
}
_FOLDERS = ("data", ".", "link", "data/../data")

_TO_FILES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "select": (("select", STAR, "--random", "10"), ("data/particles.star", "data/particles.mrcs")),
    "expand-symmetry": (
        ("expand-symmetry", STAR, "--symmetry", "C2"),
        ("data/particles.star", "data/particles.mrcs", "link/particles.star", "twin.star"),
    ),
    "check": (("check", STAR), ("data/particles.star", "data/particles.mrcs", "twin.star")),
    "compare": (("compare", MAP, "data/half1.mrc"), ("data/truth.mrc", "data/half1.mrc")),
    "symmetry": (("symmetry", MAP, "--align", "C2"), ("data/truth.mrc", "link/truth.mrc")),
    "map lowpass": (("map", "lowpass", MAP, "--resolution", "30"), (MAP, "link/truth.mrc", "data")),
    "map sphere": (("map", "sphere", "--like", MAP, "--radius", "50"), (MAP,)),
    "map fit": (("map", "fit", MAP, "data/half1.mrc"), (MAP, "data/half1.mrc")),
}


def prepare() -> None:
    """Half-maps, a mask, a model, links, and a log that makes the folder look like a job's."""
    made = run("reconstruct", STAR, "--out", "halves")
    assert made.code == 0, made.errors
    for name in ("half1.mrc", "half2.mrc"):
        shutil.copy(f"halves/{name}", "data")
    shutil.rmtree("halves")
    made = run("map", "mask", MAP, "--out", "data/mask.mrc")
    assert made.code == 0, made.errors
    atom = "ATOM  {:5d}  CA  ALA A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00 20.00           C\n"
    rows = (atom.format(i, i, 3.8 * i, 2.0 * (i % 3), 1.0 * (i % 5)) for i in range(1, 20))
    Path("data/model.pdb").write_text("".join(rows))
    Path("link").symlink_to("data")
    Path("twin.star").hardlink_to(STAR)


def attempt(tally: Tally, words: tuple[str, ...]) -> None:
    """One command that must be refused; whatever it changed was lost."""
    before = content(Path("data"))
    ended = run(*words)
    tally.count += 1
    what = " ".join(words)
    if content(Path("data")) != before or not Path("twin.star").samefile(STAR):
        tally.loss(what)
    clean_failure(tally, ended, what)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tally = Tally("outputs onto inputs")
    with workshop():
        prepare()
        for words in _TO_FOLDERS.values():
            for out in _FOLDERS:
                attempt(tally, (*words, "--out", out, "--overwrite"))
        for words, outs in _TO_FILES.values():
            for out in outs:
                attempt(tally, (*words, "--out", out, "--overwrite"))
    print(tally.row())


if __name__ == "__main__":
    main()
