"""Checkpoints: damage is seen and the file before serves; other input, options, versions do not."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vitreous.errors import InputError
from vitreous.io.star import read_star, write_star
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.contents import digest_of
from vitreous.runs.replacement import CHECKPOINT, PREVIOUS


@dataclass(frozen=True)
class Options:
    particles: Path
    lowpass: float = 40.0
    out: Path = Path("job")


def kept(tensors: dict[str, Tensor], record: dict[str, Any]) -> tuple[Tensor, int]:
    return tensors["maps"], record["iteration"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Two of them, of iterations 1 and 2."""
    found = Checkpoint(tmp_path / CHECKPOINT, Options(Path("a.star")), inputs="digest")
    for iteration in (1, 2):
        maps = torch.arange(24.0).reshape(2, 3, 4) * iteration
        poses = torch.eye(3, dtype=torch.float64)
        found.write({"maps": maps, "poses": poses}, {"iteration": iteration})
    return found


def test_last_one_is_read_to_the_same_bits(checkpoint: Checkpoint) -> None:
    told: list[Any] = []
    maps, iteration = replace(checkpoint, tell=told.append).read(kept)
    assert iteration == 2
    assert torch.equal(maps, torch.arange(24.0).reshape(2, 3, 4) * 2)
    assert told == []


def test_every_flipped_bit_is_seen_and_the_one_before_serves(checkpoint: Checkpoint) -> None:
    whole = checkpoint.path.read_bytes()
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 200).tolist():
        broken = bytearray(whole)
        broken[place // 8] ^= 1 << place % 8
        checkpoint.path.write_bytes(broken)
        told: list[Any] = []
        try:
            maps, iteration = replace(checkpoint, tell=told.append).read(kept)
        except InputError as error:
            # Only where the bit makes it another version's by its own words.
            assert "another version" in error.line()
            continue
        assert iteration == 1, place
        assert torch.equal(maps, torch.arange(24.0).reshape(2, 3, 4))
        assert PREVIOUS in told[0]["text"]


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_file_cut_short(checkpoint: Checkpoint, length: int) -> None:
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:length])
    assert checkpoint.read(kept)[1] == 1


def test_file_gone(checkpoint: Checkpoint) -> None:
    checkpoint.path.unlink()
    assert checkpoint.read(kept)[1] == 1


def test_both_damaged(checkpoint: Checkpoint) -> None:
    for path in (checkpoint.path, checkpoint.previous):
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no checkpoint can be read.*--overwrite"):
        checkpoint.read(kept)


def test_tensors_that_share_memory(checkpoint: Checkpoint) -> None:
    maps = torch.arange(6.0)
    checkpoint.write({"maps": maps, "same": maps, "part": maps[2:4]}, {"iteration": 3})
    found = checkpoint.read(lambda tensors, record: tensors)
    assert torch.equal(found["maps"], maps)
    assert torch.equal(found["same"], maps)
    assert torch.equal(found["part"], maps[2:4])


def test_nan_is_refused(checkpoint: Checkpoint) -> None:
    checkpoint.write({"maps": torch.tensor([1.0, torch.nan])}, {"iteration": 3})
    assert checkpoint.read(kept)[1] == 2


def test_other_options(checkpoint: Checkpoint) -> None:
    other = replace(checkpoint, config=Options(Path("a.star"), lowpass=20))
    with pytest.raises(InputError, match="other options"):
        other.read(kept)
    assert replace(other, free=("lowpass",)).path  # only if the first run named it free, too
    moved = replace(checkpoint, config=Options(Path("/elsewhere/a.star"), out=Path("moved")))
    assert moved.read(kept)[1] == 2


def test_other_input(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="other input"):
        replace(checkpoint, inputs="another").read(kept)


def test_other_version(checkpoint: Checkpoint, tmp_path: Path) -> None:
    text = json.dumps({"fingerprint": "as in version 0.1", "iteration": 1})
    save_file({"maps": torch.zeros(3)}, checkpoint.path, metadata={"vitreous": text})
    with pytest.raises(InputError, match="written by another version"):
        checkpoint.read(kept)


def test_state_of_another_form_is_no_traceback(checkpoint: Checkpoint) -> None:
    checkpoint.write({"volumes": torch.zeros(3)}, {"iteration": 3})
    with pytest.raises(InputError, match="lacks what this version"):
        checkpoint.read(kept)


@pytest.fixture
def star(small_stack: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    shutil.copytree(small_stack.parent, folder)
    return folder / small_stack.name


def digest(star: Path, *volumes: Tensor | None) -> str:
    table = read_particles(star)
    return digest_of(table, open_images(table), *volumes)


def rewritten(star: Path, change: Any, name: str = "particles") -> None:
    blocks = read_star(star)
    blocks[name] = blocks[name].with_frame(change(blocks[name].frame))
    write_star(star, blocks.values())


def test_digest_of_input_that_moved_stays(star: Path, small_stack: Path) -> None:
    assert digest(star) == digest(small_stack)
    assert digest(star, torch.ones(2)) != digest(star, None)


@pytest.mark.parametrize("what", ["reordered", "shorter", "origin", "images", "optics"])
def test_digest_of_changed_input_differs(star: Path, what: str) -> None:
    before = digest(star)
    if what == "reordered":
        rewritten(star, lambda frame: frame.reverse())
    elif what == "shorter":
        rewritten(star, lambda frame: frame.head(299))
    elif what == "origin":
        rewritten(star, lambda frame: frame.with_columns(rlnOriginXAngst=pl.lit("nan")))
    elif what == "optics":
        rewritten(star, lambda frame: frame.with_columns(rlnVoltage=pl.lit("200")), "optics")
    else:
        stack = star.parent / "particles.mrcs"
        content = bytearray(stack.read_bytes())
        content[1024:] = content[1024:][::-1]
        stack.write_bytes(content)
    assert digest(star) != before
