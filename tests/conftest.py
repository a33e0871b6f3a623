"""Shared fixtures: the real data, RELION's programs, small simulated stacks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

# Before anything loads Triton: without a GPU its interpreter runs the kernels.
if not Path("/dev/nvidia0").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Workers share the cores: one thread each.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# Before anything of the package.  Whole jobs take half as long again under these checks.
if os.environ.get("VITREOUS_TEST_SHAPES") != "0":
    import shapes  # noqa: F401

from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.phantom import built_in_phantom
from vitreous.jobs.simulate import simulate_from
from vitreous.runs.folder import ignore


@pytest.fixture(scope="session")
def shared_data() -> Path:
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VITREOUS_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set VITREOUS_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def relion() -> Callable[[str], str]:
    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} is not installed")
        return path

    return find


def simulated(folder: Path, n: int, box: int = 32, pixel_size: float = 8.0, **options) -> Path:
    """A stack of the built-in molecule; returns the STAR file."""
    config = SimulateConfig(Path("built-in"), out=folder, n=n, **options)
    return simulate_from(lambda: (built_in_phantom(box, pixel_size), pixel_size), config, ignore)


@pytest.fixture(scope="session")
def small_stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("small") / "data", 300, snr=0.3, seed=3)
