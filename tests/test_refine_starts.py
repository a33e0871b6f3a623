"""Where a refinement starts, and its verdict: the better start is taken, and both are told."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import simulated

from vitreous.cli import app
from vitreous.config.refine import RefineConfig
from vitreous.errors import OptionError
from vitreous.imaging.masks import soft_sphere
from vitreous.io.models import read_volume
from vitreous.io.mrc import write_map
from vitreous.jobs.refine.begin import begin, brought_poses, lowpass_warnings
from vitreous.jobs.refine.refine import run_refine
from vitreous.math.gaussians import gaussian_sum
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import ANGLES, Poses, read_origins, read_poses
from vitreous.report.trust import refinement_trust
from vitreous.runs.folder import ignore
from vitreous.schedules.refine.choice import Choice, Start, first_of_the_best
from vitreous.schedules.refine.trials import choose_start, sample_of
from vitreous.schedules.refine.verdict import Evidence, Gain, judge
from vitreous.validate.fsc import fsc
from vitreous.validate.reproducibility import likeness_to_mirror
from vitreous.validate.truth import mirrored

BOX, PIXEL, COUNT = 32, 8.0, 80
EVERYWHERE, POSED = Start(40.0), Start(20.0, posed=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack") / "data"
    return simulated(folder, COUNT, box=BOX, pixel_size=PIXEL, snr=1.0, shift=1.0, seed=5)


def with_angles(stack: Path, name: str, order: np.ndarray | None) -> Path:
    """The table with its poses given to other particles, or without any."""
    table = read_particles(stack)
    if order is None:
        posed = table.without(*ANGLES)
    else:
        angles = read_poses(table).angles[order]
        posed = table.with_fields(**Poses(angles, read_origins(table)).fields)
    path = stack.parent / name
    write_particles(path, posed)
    return path


def ball(stack: Path) -> Path:
    path = stack.parent / "ball.mrc"
    write_map(path, soft_sphere(BOX, 8.0, 4.0).numpy(), PIXEL)
    return path


def chosen(star: Path, reference: Path, **options: object) -> tuple[Choice, list[dict]]:
    events: list[dict] = []
    config = RefineConfig(
        star, reference=reference, out=star.parent / "none", mask_diameter=180.0, check=False,
        iterations=4, offset_range=2.0, **options,
    )  # fmt: skip
    begun = begin(config)
    choice, _ = choose_start(
        begun, sample_of(begun.context), lambda event: events.append(dict(event))
    )
    return choice, events


@pytest.mark.slow
def test_right_poses_are_taken_where_the_reference_leads_nowhere(stack: Path) -> None:
    choice, events = chosen(stack, ball(stack))
    assert choice.start == POSED
    cuts = [start.lowpass for start in choice.starts if not start.posed]
    assert cuts == [40.0, 20.0]  # 15 A is beyond the pixels
    told = events[-1]
    assert told["event"] == "choice"
    assert "particles' own poses" in told["sentence"] and "cut at 40 A" in told["sentence"]
    assert [one["chosen"] for one in told["tried"]] == [False, False, True]
    assert {event["event"] for event in events} == {"trial", "choice"}


def test_random_poses_are_left(stack: Path) -> None:
    order = np.random.default_rng(1).permutation(COUNT)
    star = with_angles(stack, "shuffled.star", order)
    choice, events = chosen(star, stack.parent / "truth.mrc")
    assert choice.start == EVERYWHERE
    assert choice.starts == (EVERYWHERE, POSED)
    assert "particles' own poses" in events[-1]["sentence"]


def test_poses_are_ignored_on_demand_and_where_there_are_none(stack: Path) -> None:
    star = with_angles(stack, "unposed.star", None)
    config = RefineConfig(
        star, reference=stack.parent / "truth.mrc", out=stack.parent / "none", check=False
    )
    assert begin(config).poses is None
    posed = replace(config, particles=stack)
    assert begin(posed).poses is not None
    assert begin(replace(posed, ignore_poses=True)).poses is None


def result_of(job: Path) -> dict:
    found: dict = json.loads((job / "result.json").read_text())
    return found


def table_with(stack: Path, **columns: np.ndarray) -> ParticleSet:
    return read_particles(stack).with_fields(**columns)


def test_angles_of_one_view_are_no_poses(stack: Path) -> None:
    """As 2D classification leaves them: turned in the plane only."""
    zero, psi = np.zeros(COUNT), np.linspace(0, 350, COUNT)
    flat = table_with(stack, rot=zero, tilt=zero, psi=psi)
    assert brought_poses(flat) is None
    assert brought_poses(read_particles(stack)) is not None


def test_the_less_shared_start_is_taken_where_fits_are_alike() -> None:
    rng = np.random.default_rng(2)
    image = torch.from_numpy(rng.normal(20, 5, 500)).float()

    def fit(better: float) -> torch.Tensor:
        return image + better + torch.from_numpy(rng.normal(0, 1, 500)).float()

    assert first_of_the_best(torch.stack([fit(0), fit(0), fit(0.01)])) == 0
    assert first_of_the_best(torch.stack([fit(0), fit(1), fit(1)])) == 1
    assert first_of_the_best(torch.stack([fit(0), fit(-1), fit(1)])) == 2


def test_a_choice_survives_its_checkpoint() -> None:
    fits = torch.tensor([[1.0, 2.0, 3.0], [2.0, 3.5, 4.0]])
    choice = Choice((EVERYWHERE, POSED), (18.0, 12.0), fits, 1)
    again = Choice.of(json.loads(json.dumps(choice.scalars())), fits)
    assert again == replace(choice, fits=again.fits)
    assert again.record() == choice.record()


@pytest.mark.parametrize(("lowpass", "warned"), [(80.0, 0), (20.0, 0), (15.0, 1)])
def test_a_fine_cut_is_warned_of(lowpass: float, warned: int) -> None:
    assert len(lowpass_warnings(lowpass, 8.0)) == warned


def test_a_cut_beyond_the_pixels_is_an_error() -> None:
    with pytest.raises(OptionError, match="finest resolution"):
        lowpass_warnings(8.0, 8.0)


SOUND = Evidence(
    log_evidence=30.0,
    resolution=8.0,
    beyond_shared=True,
    gain=Gain(POSED, 2.0, 0.1),
    roundness=0.6,
    likeness_to_mirror=0.2,
    polyhedral=True,
    posterior_of_best=0.7,
    settled=True,
)
CONFIG = RefineConfig(Path("p.star"), reference=Path("m.mrc"), out=Path("r"), symmetry="O")


@pytest.mark.parametrize(
    ("change", "word", "command"),
    [
        ({}, "solved", ""),
        ({"gain": None, "log_evidence": None}, "solved", ""),
        ({"gain": Gain(POSED, -0.1, 0.1)}, "solved", ""),
        ({"log_evidence": -4.0}, "failed", "check"),
        ({"resolution": None}, "failed", "check"),
        ({"roundness": 0.99}, "failed", "abinit"),
        ({"gain": Gain(POSED, -1.0, 0.1)}, "ambiguous", "refine"),
        ({"gain": Gain(Start(15.0), -1.0, 0.1)}, "ambiguous", "refine"),
        ({"beyond_shared": False}, "ambiguous", "refine"),
        ({"likeness_to_mirror": 0.5}, "ambiguous", "abinit"),
        ({"likeness_to_mirror": 0.8, "polyhedral": False}, "solved", ""),
        ({"likeness_to_mirror": 0.95, "polyhedral": False}, "ambiguous", "abinit"),
        ({"settled": False}, "ambiguous", "refine"),
    ],
)
def test_which_evidence_leads_to_which_word(change: dict, word: str, command: str) -> None:
    verdict = judge(replace(SOUND, **change), replace(CONFIG, ignore_poses=True))
    assert verdict.word == word and verdict.sentence.endswith(".")
    assert (verdict.next_step is None) == (word == "solved")
    if verdict.next_step is not None:
        words = shlex.split(str(verdict.next_step.command))
        assert words[:2] == ["vitreous", command]
        _, bound, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
        config = bound.arguments["config"]
        assert command != "refine" or not (config.ignore_poses and config.local_search)
    json.dumps(verdict.record(), allow_nan=False)
    starts = Choice((EVERYWHERE, POSED), (18.0, 12.0), torch.rand(2, 9), 1).record()
    page = refinement_trust({**verdict.record(), "starts": starts})
    assert verdict.sentence in unescape(page) and "cut at 40 A" in page


def test_only_a_map_with_a_hand_is_unlike_its_mirror_image() -> None:
    """Noise makes both unlike their mirror images, and the halves unlike each other."""
    turn = np.linspace(0, 9, 14)
    helix = np.stack([30 * np.cos(turn), 30 * np.sin(turn), 11 * (turn - 4.5)], axis=1)
    shape = gaussian_sum(helix, np.linspace(1.0, 3.0, 14), 7.0, 40, 5.0)
    mask = soft_sphere(40, 16.0, 3.0)
    found = []
    for volume in (shape, (shape + mirrored(shape)) / 2):
        rng = torch.Generator().manual_seed(3)
        level = 0.5 * volume.std()
        halves = [volume + level * torch.randn(40, 40, 40, generator=rng) for _ in range(2)]
        curve = fsc(*(half * mask for half in halves)).numpy()
        found.append(likeness_to_mirror(sum(halves) / 2, mask, 5.0, curve))
    assert found[0] < 0.6 and 0.8 < found[1] < 1.2


@pytest.mark.slow
def test_poses_of_real_particles_beat_a_search_from_40_angstrom(
    shared_data: Path, tmp_path: Path
) -> None:
    """Apoferritin is its own mirror image at 40 A: a search everywhere from there goes astray."""
    star = shared_data / "empiar10146" / "particles_3.0A_72.star"
    model = shared_data / "models" / "apoferritin_CA_sym_cryolike.pdb"
    write_map(tmp_path / "model.mrc", read_volume(model, 72, 3.0)[0], 3.0)
    config = RefineConfig(
        star, reference=tmp_path / "model.mrc", out=tmp_path / "posed", symmetry="O", lowpass=10.0,
        iterations=2, resolution_limit=9.0,
    )  # fmt: skip
    posed = run_refine(config)
    assert any("cut at 10 A" in said for said in result_of(posed)["warnings"])
    begun = begin(replace(config, particles=posed / "particles.star", lowpass=40.0, iterations=8))
    choice, _ = choose_start(begun, sample_of(begun.context), ignore)
    assert choice.start.posed
