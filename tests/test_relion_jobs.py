"""Beside RELION: its job folders as inputs, and commands as its External jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import simulated
from cryosparc_samples import cs_columns

from vitreous.config.particles import SelectConfig
from vitreous.errors import InputError, OptionError
from vitreous.io.cryosparc import write_cs
from vitreous.io.mrc import read_map
from vitreous.io.star import read_star
from vitreous.jobs.particles.select import run_select
from vitreous.particles.files import read_particles, write_particles
from vitreous.runs.relion_job import external_job


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's root whose stack and table lie in a job's folder, named from the root."""
    root = tmp_path_factory.mktemp("project")
    star = simulated(root / "Extract" / "job001", 60, box=24, snr=1.0, seed=8)
    text = star.read_text().replace("@particles.mrcs", "@Extract/job001/particles.mrcs")
    star.write_text(text)
    return root


def vitreous(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(__file__).parents[1] / "src"), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "vitreous", *words],
        cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_a_folder_stands_for_its_last_iteration(project: Path) -> None:
    job = project / "Class3D" / "job018"
    job.mkdir(parents=True)
    table = read_particles(project / "Extract" / "job001" / "particles.star")
    for number in (0, 9, 25):
        rows = np.arange(number + 1)
        write_particles(job / f"run_it{number:03d}_data.star", table.take(rows))
    assert len(read_particles(job)) == 26
    few = run_select(SelectConfig(job, out=project / "few.star", random=7))
    assert [step.particles for step in few.steps] == [26, 7]
    write_particles(job / "run_data.star", table.take(np.arange(5)))
    assert len(read_particles(job)) == 5
    assert len(read_particles(project / "Extract" / "job001")) == 60
    with pytest.raises(InputError, match="is a folder without a job's particles"):
        read_particles(project)


def test_a_cryosparc_folder_stands_for_its_last_iteration(project: Path, tmp_path: Path) -> None:
    columns = cs_columns(project / "Extract" / "job001" / "particles.star")
    for number in (3, 12):
        some = {name: values[:number] for name, values in columns.items()}
        write_cs(tmp_path / f"cryosparc_P1_J7_{number:03d}_particles.cs", some)
    write_cs(tmp_path / "cryosparc_P1_J7_passthrough_particles.cs", columns)
    assert len(read_particles(tmp_path, need_images=False)) == 12


def test_relions_form_becomes_our_options() -> None:
    words = (
        "--o External/job9/ --in_parts Extract/job1/particles.star --in_3dref a.mrc --in_mask "
        "m.mrc --symmetry C2 --local_search yes --join_halves no --offset -3 --j 4"
    )
    job = external_job("refine", words.split())
    assert job.folder == Path("External/job9") and job.results == Path("External/job9/refine")
    assert " ".join(job.arguments) == (
        "refine Extract/job1/particles.star --out External/job9/refine --reference a.mrc "
        "--mask m.mrc --symmetry C2 --local-search --no-join-halves --offset -3 --threads 4"
    )
    with pytest.raises(OptionError, match="--o, which is missing"):
        external_job("refine", ["--in_parts", "a.star"])


@pytest.mark.slow
def test_an_external_job_tells_relion_its_end_and_outputs(project: Path) -> None:
    folder = project / "External" / "job002"
    folder.mkdir(parents=True)
    words = ("--o", "External/job002/", "--in_parts", "Extract/job001/particles.star", "--j", "1")
    done = vitreous(project, "external", "reconstruct", *words)
    assert done.returncode == 0, done.stderr
    assert (folder / "RELION_JOB_EXIT_SUCCESS").exists()
    nodes = read_star(folder / "RELION_OUTPUT_NODES.star")["output_nodes"].frame
    assert "External/job002/reconstruct/map.mrc" in nodes["rlnPipeLineNodeName"].to_list()
    assert all((project / name).is_file() for name in nodes["rlnPipeLineNodeName"])
    assert read_star(folder / "job.star")["job"].frame["rlnJobTypeLabel"][0] == "relion.external"
    failed = vitreous(project, "external", "reconstruct", *words, "--symmetry", "Q7")
    assert failed.returncode == 2 and failed.stderr.startswith("error: ")
    assert [p.name for p in folder.glob("RELION_JOB_EXIT_*")] == ["RELION_JOB_EXIT_FAILURE"]
    unknown = vitreous(project, "external", "reconstruct", *words, "--nonsense", "3")
    assert unknown.returncode == 2 and "nonsense" in unknown.stderr


@pytest.mark.slow
def test_relion_runs_on_what_comes_back_from_cryosparc(
    project: Path, relion: Callable[[str], str]
) -> None:
    """From the root of the project, on names that lead to the stacks from there."""
    reconstruct = relion("relion_reconstruct")
    source = project / "Extract" / "job001" / "particles.star"
    write_particles(project / "Extract" / "job001" / "j.cs", read_particles(source))
    back = project / "External" / "job003" / "particles.star"
    back.parent.mkdir(parents=True, exist_ok=True)
    write_particles(back, read_particles(project / "Extract" / "job001" / "j.cs"))
    maps = []
    for number, table in enumerate((source, back)):
        name = f"m{number}.mrc"
        subprocess.run(
            [reconstruct, "--i", str(table.relative_to(project)), "--o", name, "--ctf"],
            cwd=project, check=True, capture_output=True,
        )  # fmt: skip
        maps.append(read_map(project / name)[0])
    # Rounding to 1e-6 degrees moves voxels that few particles fill: measured 0.997.
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.99
    shutil.rmtree(back.parent)
