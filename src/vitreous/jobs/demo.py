"""The demonstration: simulate the built-in molecule, run ab initio, compare with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.compare import Comparison, run_compare
from vitreous.jobs.config.abinit import AbinitConfig
from vitreous.jobs.config.maps import CompareConfig
from vitreous.jobs.config.simulate import DemoConfig, SimulateConfig
from vitreous.jobs.folder import OnEvent, ignore, job_folder
from vitreous.jobs.options import on_its_threads
from vitreous.jobs.record import job_record, write_record
from vitreous.jobs.simulate import simulate_from
from vitreous.physics.phantom import built_in_phantom

_BOX, _PIXEL_SIZE, _PARTICLES, _MASK = 64, 4.0, 1500, 200.0


@dataclass(frozen=True)
class DemoResult:
    """Where the demonstration left its job, and how near the map came to the truth."""

    job: Path
    comparison: Comparison


@on_its_threads
def run_demo(config: DemoConfig, on_event: OnEvent = ignore) -> DemoResult:
    """Simulate, reconstruct, compare.

    Raises
    ------
    OutputError
        If the output folder cannot be used.
    """
    with job_folder("demo", config, on_event) as folder:
        simulation = SimulateConfig(
            model=Path("built-in"),
            out=folder.path / "particles",
            n=_PARTICLES,
            seed=config.seed,
        )
        star = simulate_from(
            lambda: (built_in_phantom(_BOX, _PIXEL_SIZE), _PIXEL_SIZE), simulation, folder.tell
        )
        job = run_abinit(
            AbinitConfig(
                star,
                out=folder.path / "abinit",
                mask_diameter=_MASK,
                starts=3,
                polish_passes=1,
                seed=config.seed,
            ),
            folder.tell,
        )
        compared = CompareConfig(job / "class001.mrc", simulation.out / "truth.mrc")
        comparison = run_compare(compared)
        write_record(folder.path, job_record("demo", config))
    return DemoResult(config.out / "abinit", comparison)
