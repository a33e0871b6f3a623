"""The Python interface: every command is in it, and docs/api.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitreous import api
from vitreous.cli import app
from vitreous.cli.volumes import tools
from vitreous.math.symmetry import point_group
from vitreous.particles.poses import read_poses

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text()


def names(of: Any) -> list[str]:
    return [name for name in of if not name.startswith("-")]


FOR_THE_SHELL = {"project", "rerun", "watch", "report", "serve", "clean", "archive", "submit"}
"""Commands that look after the folders of jobs, or queue them."""


def test_every_command_is_a_function_on_the_page() -> None:
    for name in (name.replace("-", "_") for name in set(names(app)) - FOR_THE_SHELL):
        name = "import_data" if name == "import" else name  # a word that Python keeps for itself
        assert hasattr(api, name), name
        assert f"\n## {name}\n" in PAGE
        assert name == "map" or hasattr(api, f"run_{name}")


def test_every_verb_is_on_the_page() -> None:
    verbs = names(tools)
    assert len(verbs) == 20
    listed = set(re.findall(r"`([a-z-]+)`", " ".join(re.findall(r"\n\| (`.*?) \|", PAGE))))
    assert set(verbs) == listed


def test_the_package_alone_loads_nothing() -> None:
    code = "import sys, vitreous; assert not {'torch', 'numpy', 'polars'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's snippets leave behind."""
    made: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)):
            exec(compile(snippet, f"docs/api.md, snippet {number + 1}", "exec"), made)
        made["folder"] = Path.cwd()
    return made


@pytest.mark.slow
def test_snippets(page: dict[str, Any]) -> None:
    assert page["tested"].group == "C1"  # the molecule has no symmetry
    assert [step.particles for step in page["kept"].steps][-1] == 100
    defocus = page["kept"].table.defocus_u
    assert defocus is not None and defocus.max() < 20000
    assert torch.allclose(page["larger"][4:-4, 4:-4, 4:-4], page["molecule"])
    assert api.map.centre_of_mass(page["centred"]).abs().max() < 0.1
    for name in ("first-map/class001.mrc", "refined/map.mrc", "kept.star"):
        assert (page["folder"] / name).is_file()


@pytest.mark.slow
def test_subtracted_images_are_those_of_the_command(page: dict[str, Any]) -> None:
    folder, found = page["folder"], page["subtracted"]
    api.write_map(folder / "keep.mrc", page["keep"].numpy(), page["pixel_size"])
    data = folder / "data"
    written = api.run_subtract(
        api.SubtractConfig(
            data / "particles.star",
            out=folder / "part",
            map=data / "truth.mrc",
            mask=folder / "keep.mrc",
            box=32,
        )
    )
    there = api.read_particles(written.star)
    rows = np.array([7, 3])
    assert api.open_images(there).read(rows) == pytest.approx(found.read(rows), abs=1e-4)
    assert read_poses(there).origins == pytest.approx(read_poses(found.table).origins, abs=1e-4)
    assert page["power"] == pytest.approx(
        sum(float((batch**2).sum()) for batch in found.batches()), rel=1e-6
    )


@pytest.mark.slow
def test_classes_have_particles_maps_and_posteriors(page: dict[str, Any]) -> None:
    classes, first = page["classes"], page["first"]
    counts = [entry["particles"] for entry in classes.record["classes"]]
    assert sum(counts) == 400 and len(first.table) == counts[0]
    assert len(classes.maps) == len(classes.half1) == len(classes.curves) == 2
    assert classes.maps.shape[-1] * classes.pixel_size == pytest.approx(40 * page["pixel_size"])
    assert classes.table.class_posteriors.sum(axis=1) == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_expanded_poses_are_the_groups(page: dict[str, Any]) -> None:
    before, after = (read_poses(page[name]).matrices for name in ("table", "expanded"))
    found = after.reshape(-1, 4, 3, 3)
    turns = np.einsum("nji,nsjk->nsik", before, found)
    for turn in point_group("D2").numpy():
        assert np.abs(turns - turn).max(axis=(2, 3)).min(axis=1).max() < 1e-5


@pytest.mark.slow
def test_filtered_and_whole_map_agree_to_the_filter(page: dict[str, Any]) -> None:
    shell = round(40 * page["pixel_size"] / 20.0)
    assert page["curve"][: shell - 2].min() > 0.999
    twice = api.map.flip_hand(page["mirrored"])
    assert torch.equal(twice, page["molecule"])
