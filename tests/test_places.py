"""Places where nothing can be written: homes, packages and streams."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vitreous

_SCRIPT = """
import numpy as np
from vitreous.ops.neighbours import smooth
block = np.eye(1, 9, 4, dtype=np.float32).reshape(9, 1, 1)
out = np.zeros_like(block)
smooth(block, np.zeros((9, 1, 2), np.float32), 0, 1, out, 0, 1)
print(*(16**3 / 6**2 * out.ravel()).round().astype(int), smooth.stats.cache_path)
print(*smooth.stats.cache_hits.values())
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Copy of the package that compiled code cannot be kept in, root's rights notwithstanding."""
    copy = tmp_path / "packages" / "vitreous"
    shutil.copytree(
        Path(vitreous.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").touch()
    return copy.parent


def shared(package: Path, temporary: Path, **settings: str) -> list[str]:
    """What the kernel gives, where its code is kept, and how often it was found there."""
    temporary.mkdir(exist_ok=True)
    home = package / "home"
    home.touch()  # a file: no folder can be made in it
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    places = {"PYTHONPATH": str(package), "HOME": str(home), "TMPDIR": str(temporary)}
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**kept, **places, **settings},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    words = run.stdout.split()
    assert words[:9] == ["0", "0", "1", "4", "6", "4", "1", "0", "0"]
    return words[9:]


def test_kernels_are_kept_in_a_temporary_folder_of_the_user(package: Path, tmp_path: Path) -> None:
    own = tmp_path / "temporary" / f"vitreous-{os.getuid()}"
    place, *hits = shared(package, own.parent)
    assert Path(place).parent == own
    assert own.stat().st_mode & 0o777 == 0o700
    assert not hits
    assert shared(package, own.parent)[1:] == ["1"]


def test_kernels_are_compiled_in_memory_where_no_folder_can_be_trusted(
    package: Path, tmp_path: Path
) -> None:
    own = tmp_path / "temporary" / f"vitreous-{os.getuid()}"
    own.mkdir(parents=True)
    own.chmod(0o777)  # anyone could lay code there
    assert shared(package, own.parent) == ["None"]
    assert not list(own.iterdir())


def test_kernels_are_kept_where_the_user_says(package: Path, tmp_path: Path) -> None:
    place, *_ = shared(package, tmp_path / "temporary", NUMBA_CACHE_DIR=str(tmp_path / "mine"))
    assert Path(place).parent == tmp_path / "mine"


def test_a_damaged_cache_is_compiled_anew(package: Path, tmp_path: Path) -> None:
    place, *_ = shared(package, tmp_path / "temporary")
    for path in Path(place).iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert shared(package, tmp_path / "temporary") == [place]
