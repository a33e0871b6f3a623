"""The demonstration: simulate the built-in molecule, run ab initio, compare with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.compare import Comparison, run_compare
from vitreous.jobs.config.abinit import AbinitConfig
from vitreous.jobs.config.maps import CompareConfig
from vitreous.jobs.config.simulate import DemoConfig, SimulateConfig
from vitreous.jobs.folder import OnEvent, ignore, prepare_folder
from vitreous.jobs.options import on_its_threads
from vitreous.jobs.simulate import simulate_from
from vitreous.physics.phantom import built_in_phantom

_BOX, _PIXEL_SIZE, _PARTICLES, _MASK = 64, 4.0, 1500, 200.0


@dataclass(frozen=True)
class DemoResult:
    """Where the demonstration left its job, and how near the map came to the truth."""

    job: Path
    comparison: Comparison


def job_folder(config: DemoConfig) -> Path:
    """Folder of the demonstration's ab initio job."""
    return config.out / "abinit"


@on_its_threads
def run_demo(
    config: DemoConfig, on_event: OnEvent = ignore, on_job_event: OnEvent = ignore
) -> DemoResult:
    """Simulate, reconstruct, compare; ``on_job_event`` is for the ab initio job's own log.

    Raises
    ------
    OutputError
        If the output folder cannot be used.
    """
    prepare_folder(config.out, overwrite=config.overwrite)
    # Marks the folder as ours, so that --overwrite may replace it.
    (config.out / "log.jsonl").touch()
    simulation = SimulateConfig(
        model=Path("built-in"), out=config.out / "particles", n=_PARTICLES, seed=config.seed
    )
    star = simulate_from(
        lambda: (built_in_phantom(_BOX, _PIXEL_SIZE), _PIXEL_SIZE), simulation, on_event
    )

    def on_abinit_event(event: Mapping[str, Any]) -> None:
        on_job_event(event)
        on_event(event)

    job = run_abinit(
        AbinitConfig(
            star,
            out=config.out / "abinit",
            mask_diameter=_MASK,
            starts=3,
            polish_passes=1,
            seed=config.seed,
        ),
        on_abinit_event,
    )
    comparison = run_compare(CompareConfig(job / "class001.mrc", simulation.out / "truth.mrc"))
    return DemoResult(job, comparison)
