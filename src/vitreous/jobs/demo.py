"""The demonstration: simulate the built-in molecule, run ab initio, compare with the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vitreous.config.abinit import AbinitConfig
from vitreous.config.maps import CompareConfig
from vitreous.config.simulate import DemoConfig, SimulateConfig
from vitreous.imaging.phantom import built_in_phantom
from vitreous.io.atomic import atomic_path
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.compare import Comparison, run_compare
from vitreous.jobs.simulate import simulate_from
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.options import on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.runs.replacement import UNFINISHED

_SIMULATED, _SEARCHED = "particles", "abinit"
"""Folders of the jobs within."""

_BOX, _PIXEL_SIZE, _PARTICLES, _MASK = 64, 4.0, 1500, 200.0


@dataclass(frozen=True)
class DemoResult:
    """Where the demonstration left its job, and how near the map came to the truth."""

    job: Path
    comparison: Comparison


def _call_by_final_name(folder: JobFolder) -> None:
    """Call the folder in the files of the jobs within as it will be called once they are done."""
    if folder.path == folder.out:
        return
    for path in (*folder.path.glob("*/result.json"), *folder.path.glob("*/particles.star")):
        content = path.read_bytes()
        for job in (_SIMULATED, _SEARCHED):  # bytes before it may be escaped
            content = content.replace(f"{UNFINISHED}/{job}".encode(), f"/{job}".encode())
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)


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
            out=folder.path / _SIMULATED,
            n=_PARTICLES,
            seed=config.seed,
        )
        star = simulate_from(
            lambda: (built_in_phantom(_BOX, _PIXEL_SIZE), _PIXEL_SIZE), simulation, folder.tell
        )
        job = run_abinit(
            AbinitConfig(
                star,
                out=folder.path / _SEARCHED,
                mask_diameter=_MASK,
                starts=3,
                polish_passes=1,
                seed=config.seed,
            ),
            folder.tell,
        )
        comparison = run_compare(CompareConfig(job / "class001.mrc", simulation.out / "truth.mrc"))
        _call_by_final_name(folder)
        write_record(folder.path, job_record("demo", config))
    job = config.out / _SEARCHED
    assert comparison.aligned is not None
    return DemoResult(job, replace(comparison, aligned=job / comparison.aligned.name))
