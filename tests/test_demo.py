"""The demonstration's folder, replaced: what is in it goes by the names it has in the end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from vitreous.config.abinit import AbinitConfig
from vitreous.config.simulate import DemoConfig
from vitreous.io.mrc import read_map, write_map
from vitreous.jobs import demo
from vitreous.particles.files import read_particles, write_particles
from vitreous.runs.command import beside, command_of
from vitreous.runs.folder import OnEvent, job_folder
from vitreous.runs.record import job_record, write_record


def searched(config: AbinitConfig, on_event: OnEvent) -> Path:
    """Files that name others, as a search leaves them; the truth for its map."""
    with job_folder("abinit", config, on_event) as job:
        truth = config.particles.with_name("truth.mrc")
        write_map(job.path / "class001.mrc", *read_map(truth))
        write_particles(job.path / "particles.star", read_particles(config.particles))
        step = command_of("abinit", config, out=beside(config.out, "again"))
        write_record(job.path, {**job_record("abinit", config), "next": step})
    return config.out


@pytest.mark.parametrize("name", ["demo", "dé'mo.unfinished"])
def test_no_result_names_the_folder_that_the_job_worked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for constant, value in (("_PARTICLES", 8), ("_BOX", 32), ("_PIXEL_SIZE", 8.0)):
        monkeypatch.setattr(demo, constant, value)
    monkeypatch.setattr(demo, "run_abinit", searched)
    monkeypatch.chdir(tmp_path)
    job = tmp_path / name
    for overwrite in (False, True):
        result = demo.run_demo(DemoConfig(out=Path(name), overwrite=overwrite))
        assert result.comparison.aligned is not None and result.comparison.aligned.is_file()
        (stack,) = read_particles(result.job / "particles.star").stacks
        assert stack.samefile(job / "particles" / "particles.mrcs")
        record = json.loads((result.job / "result.json").read_text())
        words = shlex.split(record["next"])
        for path in (record["options"]["particles"], words[2]):
            assert (tmp_path / path).samefile(job / "particles" / "particles.star")
        assert words[words.index("--out") + 1].endswith(f"{name}/abinit_again")
        simulated = json.loads((job / "particles" / "result.json").read_text())
        assert (tmp_path / simulated["options"]["out"]).samefile(job / "particles")
