"""The verdict: how maps are compared, and which evidence leads to which word."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vitreous.cli import app
from vitreous.cli.app import verdict_lines
from vitreous.config.abinit import AbinitConfig
from vitreous.engine.searches.grid import shares
from vitreous.imaging.masks import soft_sphere
from vitreous.jobs.abinit.next_step import Ending, next_step, with_next_step
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.symmetry import point_group
from vitreous.schedules.abinit.classify import Classified
from vitreous.schedules.abinit.evidence import AtLast, Evidence, Sorted, Stopped
from vitreous.schedules.abinit.gather import _agreement, _sorted_alike
from vitreous.schedules.abinit.verdict import OF_SHAPE, Doubt, judge
from vitreous.validate.labels import adjusted_rand_index, contingency, matched
from vitreous.validate.reproducibility import (
    Agreement,
    agreement,
    agreement_with_mirror,
    posed_alike,
)

BOX, PIXEL, WIDTH = 40, 5.0, 7.0
TURN = torch.linspace(0, 9, 14)
HELIX = torch.stack([30 * TURN.cos(), 30 * TURN.sin(), 11 * (TURN - 4.5)], dim=1)


def evidence(
    resolutions: list[float],
    own_mirror: float = 60.0,
    contrast: float = 50.0,
    sorted_alike: float | None = None,
    certain: float = 1.0,
    by_class: dict[int, float] | None = None,
) -> Evidence:
    """The likeliest of the starts, and how far each of the others agrees with it."""
    count = len(resolutions) + 1
    pairwise: list[list[Agreement | None]] = [[None] * count for _ in range(count)]
    for number, resolution in enumerate(resolutions, 1):
        pairwise[0][number] = pairwise[number][0] = Agreement(resolution, False)
    alike = None if sorted_alike is None else Sorted(sorted_alike, sorted_alike, certain)
    return Evidence(
        starts=list(range(1, count + 1)),
        best=0,
        pairwise=pairwise,
        log_likelihoods=[1.0] * count,
        posed_alike=[None, *[1.0] * (count - 1)],
        sorted_alike=[None, *[alike] * (count - 1)],
        own_mirror=own_mirror,
        contrast=contrast,
        final_resolution=15.0,
        held_out=300,
        by_class=[None, *[by_class or {0: r} for r in resolutions]],
    )


@pytest.mark.parametrize(
    "found,word",
    [
        (evidence([16.0, 17.0]), "solved"),
        (evidence([16.0, 50.0]), "solved"),
        (evidence([16.0, 50.0, 50.0, 50.0, math.inf]), "ambiguous"),
        (evidence([40.0, 50.0]), "failed"),
        (evidence([]), "ambiguous"),
        (evidence([16.0, 17.0], own_mirror=17.0), "ambiguous"),
        (evidence([16.0, 17.0], contrast=-20.0), "failed"),
        (evidence([16.0, 17.0], contrast=1.0), "failed"),
        (evidence([16.0], sorted_alike=0.97), "solved"),
        (evidence([16.0], sorted_alike=0.9), "ambiguous"),
        (evidence([16.0], sorted_alike=0.97, certain=0.4), "ambiguous"),
    ],
)
def test_which_evidence_leads_to_which_word(found: Evidence, word: str) -> None:
    verdict = judge(found)
    assert verdict.word == word
    assert verdict.sentence.endswith(".")
    assert verdict.record()["verdict"] == word


@given(st.lists(st.floats(1, 1000), max_size=6), st.floats(1, 1000), st.floats(-100, 100))
def test_solved_needs_agreement_a_hand_and_white_particles(
    resolutions: list[float], own_mirror: float, contrast: float
) -> None:
    found = evidence(resolutions, own_mirror, contrast)
    if judge(found).word == "solved":
        assert min(resolutions) <= 22.5
        assert own_mirror > min(resolutions)
        assert contrast > 0


# What became of the others, and what to do next -----------------------------------------------


def test_the_sentence_tells_what_became_of_starts_that_were_stopped() -> None:
    stopped = tuple(Stopped(n, 82, 130, 0.4 + 0.1 * n) for n in range(4, 9))
    said = judge(replace(evidence([15.0, 15.0]), stopped=stopped))
    assert said.word == "solved"
    assert said.sentence == (
        "3 of 3 finished starts agree to 15 A. 5 more starts were stopped after iteration 82 of "
        "130, as they explained the held-out particles less well (log-likelihood 0.8 to 1.2 lower "
        "a particle)."
    )
    assert [one["behind"] for one in said.record()["evidence"]["stopped"]] == [
        one.behind for one in stopped
    ]
    twice = (Stopped(5, 45, 90, 0.5), Stopped(6, 68, 90, 0.5))
    assert (
        "after iteration 45 and 68 of 90"
        in judge(replace(evidence([15.0, 15.0]), stopped=twice)).sentence
    )


def test_classes_that_no_other_start_has_are_told() -> None:
    classes = {0: 15.0, 1: 16.0, 2: 70.0, 3: math.inf}
    said = judge(evidence([16.0, 80.0], by_class=classes))
    assert said.word == "solved"
    assert said.evidence.not_reproduced == [2, 3]
    assert "Not found again by another start, so perhaps junk: class 3, class 4." in said.sentence
    record = said.record()["evidence"]["by_class"]
    assert record[0] is None
    assert record[1] == {"1": 15.0, "2": 16.0, "3": 70.0, "4": None}
    # A start that does not agree tells nothing of the classes.
    one = replace(said.evidence, by_class=[None, classes, dict.fromkeys(classes, 15.0)])
    assert one.not_reproduced == [2, 3]


def test_classes_that_another_start_has_are_told_where_starts_disagree() -> None:
    """Three of four molecules are the same in two starts, one that holds a quarter is not."""
    said = judge(evidence([26.6], by_class={0: 26.6, 1: 14.8, 2: 14.8, 3: 14.8}))
    assert (said.word, said.doubt) == ("ambiguous", "starts disagree")
    assert "Another start has class 2, class 3, class 4, but none has the others." in said.sentence
    assert judge(evidence([26.6], by_class={0: 26.6, 1: 40.0})).word == "failed"
    each = [None, {0: 15.0, 1: 40.0}, {0: 40.0, 1: 15.0}]
    said = judge(replace(evidence([40.0, 40.0]), by_class=each))
    assert said.sentence.endswith("Another start has class 1, class 2.")


def test_starts_agree_where_classes_of_most_particles_do() -> None:
    found = {n: Agreement(r, False) for n, r in enumerate([15.0, 60.0, 17.0, 16.0])}
    # Classes 0, 2 and 3 hold 85 % of the particles; without the last they hold 55 %.
    shares = torch.tensor([0.3, 0.15, 0.3, 0.25])
    assert _agreement(found, shares).resolution == 17.0
    assert _agreement(found, torch.tensor([0.3, 0.25, 0.2, 0.25])).resolution == 60.0
    assert _agreement({0: found[1]}, torch.ones(1)).resolution == 60.0


def test_starts_are_not_held_to_classes_that_nobody_is_sure_of() -> None:
    classes = torch.arange(100) % 2
    labels, renamed = classes.clone(), 1 - classes
    renamed[:20] = 0  # ten of these then lie in another class
    labels[90:] = -1
    state: Any = None
    sure = torch.arange(100) >= 20
    one, best = (Classified(state, found, sure, {}) for found in (renamed, labels))
    found = _sorted_alike(one, best, 2, [0, 1])
    assert found.share == 1.0
    assert found.certain == pytest.approx(70 / 90)
    nobody = replace(best, certain=torch.zeros(100, dtype=torch.bool))
    assert _sorted_alike(one, nobody, 2, [0, 1]).share == pytest.approx(80 / 90)


def test_a_collapsed_search_says_so_instead_of_that_its_starts_agree() -> None:
    ball = replace(evidence([15.0, 15.0]), roundness=0.99, certainty=0.004)
    said = judge(ball)
    assert (said.word, said.doubt) == ("failed", "collapsed")
    assert "collapsed" in said.sentence and "agree" not in said.sentence
    # Apoferritin's shell at 15 A is nearly round, too, but its particles have poses.
    assert judge(replace(ball, certainty=0.3)).word == "solved"
    assert judge(replace(ball, roundness=0.95)).word == "solved"


@pytest.mark.parametrize(
    "at_last,doubt",
    [
        (AtLast(2, 8.2, 18.6, 0.9), None),
        (AtLast(2, 15.0, 15.0, 0.9), "own mirror image"),
        (AtLast(2, math.inf, 30.0, 0.9), "starts disagree"),
        (AtLast(2, 24.0, 60.0, 0.9), "starts disagree"),
        (AtLast(2, 8.2, 18.6, 0.14), "poses differ"),
        (AtLast(2, 13.1, 21.0, 0.9, stands_out="O"), "own mirror image"),
    ],
)
def test_hand_and_poses_are_judged_by_the_last_maps_where_there_are_two(
    at_last: AtLast, doubt: Doubt | None
) -> None:
    coarse = evidence([15.0, 15.0], own_mirror=15.0)
    assert judge(coarse).doubt == "own mirror image"
    assert judge(replace(coarse, at_last=at_last)).doubt == doubt
    assert "inf" not in judge(replace(coarse, at_last=at_last)).sentence
    assert judge(replace(coarse, at_last=at_last)).record()["evidence"]["at_last"]["start"] == 2


def test_a_group_that_stands_out_is_no_doubt_of_a_search_whose_map_has_a_hand() -> None:
    """A molecule with a pseudosymmetry is like that."""
    plain = replace(evidence([15.0, 15.0]), at_last=AtLast(2, 8.2, 18.6, 0.9, stands_out="C6"))
    assert judge(plain).word == "solved"


def test_starts_that_nearly_agree_are_compared_after_their_last_passes() -> None:
    near, far = evidence([28.0, 60.0]), evidence([40.0, 60.0])
    assert judge(near).word == judge(far).word == "failed"
    assert near.nearest == 1 and far.nearest is None
    said = judge(replace(near, at_last=AtLast(2, 8.2, 18.6, 0.9)))
    assert said.word == "solved"
    assert said.sentence.startswith("2 of 3 finished starts agree to 8.2 A after their last passes")
    assert judge(replace(near, at_last=AtLast(2, 8.2, 9.0, 0.9))).doubt == "own mirror image"


def test_a_search_that_was_begun_anew_says_what_it_was_begun_anew_after() -> None:
    first = judge(evidence([40.0, 60.0]))
    said = judge(replace(evidence([15.0, 15.0]), at_first=first.sentence))
    assert said.word == "solved" and said.sentence.endswith(first.sentence)


def test_starts_that_pose_particles_differently_are_not_trusted() -> None:
    found = replace(evidence([15.0, 15.0]), posed_alike=[None, 0.14, 0.1])
    assert judge(found).doubt == "poses differ" and "14%" in judge(found).sentence


@pytest.mark.parametrize("held_out,doubt", [(30, None), (500, "poses differ")])
def test_few_held_out_particles_do_not_tell_43_from_50_percent(
    held_out: int, doubt: str | None
) -> None:
    """The standard error of 0.43 is 0.09 over 30 and 0.02 over 500 (binomial)."""
    found = replace(evidence([15.0]), posed_alike=[None, 0.43], held_out=held_out)
    assert judge(found).doubt == doubt


def ending(**options) -> Ending:
    config = AbinitConfig(Path("my data/p.star"), out=Path("job"), **options)
    return Ending(config, Path("my data/p.mrcs"), finest=6.0, particles=2496)


@pytest.mark.parametrize("doubt", get_args(Doubt))
@pytest.mark.parametrize(
    "options",
    [{}, {"symmetry": "O"}, {"classes": 3}, {"starts": 40}, {"final_resolution": 6.0}],
)
def test_every_doubt_has_a_next_step_whose_command_can_be_given(
    doubt: Doubt, options: dict
) -> None:
    for proposed in (None, "D7"):
        step = next_step(doubt, replace(ending(**options), proposed=proposed))
        assert step.sentence.endswith(".") and step.command is not None
        words = shlex.split(step.command)
        assert any("my data/p.mrcs" in w or "my data/p.star" in w or "job/" in w for w in words)
        if words[0] == "vitreous":
            _, bound, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
            assert getattr(bound.arguments["config"], "out", None) != Path("job")


@pytest.mark.parametrize("doubt", sorted(OF_SHAPE))
@pytest.mark.parametrize("symmetry", ["C1", "O"])
def test_steps_that_follow_each_other_come_to_an_end(doubt: Doubt, symmetry: str) -> None:
    """No search is sent to options that it had."""
    found = ending(symmetry=symmetry)
    for _ in range(8):
        step = next_step(doubt, found)
        if not step.changes:
            return
        config = replace(found.config, **step.changes)
        assert config != found.config
        found = replace(found, config=config)
    pytest.fail(f"{step.command} after eight searches")


def test_a_symmetry_that_stands_out_is_the_next_step_with_the_users_own_paths() -> None:
    found = replace(ending(), proposed="O")
    said = with_next_step(judge(evidence([15.0, 15.0], own_mirror=15.0)), found)
    command = "vitreous abinit 'my data/p.star' --out job_O --symmetry O --final-resolution 10"
    assert said.next_step is not None and said.next_step.command == command
    assert verdict_lines(said.record())[-1].strip() == command
    assert said.record()["next_step"]["command"] == command
    # One that a search under it did not bear out is not named again.
    again = with_next_step(said, replace(found, refuted=True)).next_step
    assert again is not None and again.command is not None and "--symmetry" not in again.command
    solved = with_next_step(judge(evidence([15.0, 15.0])), found)
    assert solved.next_step is None and len(verdict_lines(solved.record())) == 1


def test_a_polyhedral_search_is_sent_to_where_its_hand_shows() -> None:
    step = next_step("own mirror image", ending(symmetry="O", final_resolution=15.0))
    assert step.command is not None and step.command.endswith("--symmetry O --final-resolution 10")


def density(points: torch.Tensor) -> torch.Tensor:
    weights = np.linspace(1.0, 3.0, len(points))
    return gaussian_sum(points.double().numpy(), weights, WIDTH, BOX, PIXEL)


@pytest.mark.slow
def test_a_turned_and_mirrored_density_agrees_and_another_does_not() -> None:
    mask = soft_sphere(BOX, 16.0, 3.0)
    turn = torch.from_numpy(Rotation.random(random_state=1).as_matrix()).float()
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    fixed = density(HELIX)
    same = agreement(density(HELIX @ mirror @ turn.T + 4.0), fixed, mask, PIXEL)
    assert same.resolution < 15
    assert same.mirrored
    generator = torch.Generator().manual_seed(3)
    points = 90 * torch.rand(len(HELIX), 3, generator=generator) - 45
    assert agreement(density(points), fixed, mask, PIXEL).resolution > 25


def test_only_a_flat_density_is_its_own_mirror_image() -> None:
    mask = soft_sphere(BOX, 16.0, 3.0)
    flat = HELIX * torch.tensor([1.0, 1.0, 0.0])
    assert agreement_with_mirror(density(flat), mask, PIXEL) < 11  # Nyquist is 10
    assert agreement_with_mirror(density(HELIX), mask, PIXEL) > 16


def test_class_similarity_goes_from_the_posterior_to_equal_shares() -> None:
    by_map = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    assert torch.equal(shares(by_map, 0.0), by_map)
    torch.testing.assert_close(shares(by_map, 1.0), torch.full((2, 3), 1 / 3))
    torch.testing.assert_close(shares(by_map, 0.3).sum(dim=1), torch.ones(2))


def rotations(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


@pytest.mark.parametrize("hand", [False, True])
def test_poses_of_a_turned_and_mirrored_map_are_the_same_poses(hand: bool) -> None:
    # Projections of points decide: a pose and its like show the same image, or its mirror image
    # along the line of sight, which a projection does not tell.
    poses, turn = rotations(20, 1), rotations(1, 2)[0]
    flip = torch.diag(torch.tensor([1.0, 1.0, -1.0 if hand else 1.0], dtype=torch.float64))
    points = HELIX.double()
    other = points @ flip @ turn.T  # the map that the first, mirrored, is laid on by the turn
    others = flip @ poses @ flip @ turn.T
    seen = (points @ poses.transpose(1, 2))[..., :2]
    again = (other @ others.transpose(1, 2))[..., :2]
    torch.testing.assert_close(seen, again)
    assert posed_alike(poses, others, point_group("C1"), 0.1) == 1
    # A third of the poses are nine degrees off, each in its own plane.
    tilt = torch.from_numpy(Rotation.from_euler("y", 9, degrees=True).as_matrix())
    off = torch.where(torch.arange(len(poses))[:, None, None] % 3 == 0, tilt @ others, others)
    apart = float((torch.arange(len(poses)) % 3 != 0).double().mean())
    assert posed_alike(poses, off, point_group("C1"), 1.0) == pytest.approx(apart)
    assert posed_alike(poses, off, point_group("C1"), 9.1) == 1


def test_poses_at_random_are_not_the_same() -> None:
    assert posed_alike(rotations(400, 1), rotations(400, 2), point_group("C1"), 30.0) < 0.1


def test_poses_related_by_the_point_group_are_the_same() -> None:
    poses, group = rotations(10, 3), point_group("O")
    turns = group[torch.arange(10) % len(group)]
    assert posed_alike(poses, poses @ turns, group, 0.1) == 1
    assert posed_alike(poses, poses @ turns, group[:1], 0.1) < 0.5


def test_sortings_agree_whatever_the_names_of_the_classes() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 3000)
    renamed = np.array([2, 0, 1])[first]
    names, share = matched(contingency(first, renamed, 3))
    assert names.tolist() == [2, 0, 1] and share == 1
    assert adjusted_rand_index(contingency(first, renamed, 3)) == 1
    unrelated = contingency(first, rng.integers(0, 3, 3000), 3)
    assert abs(adjusted_rand_index(unrelated)) < 0.01
    assert matched(unrelated)[1] < 0.4


def test_the_adjusted_rand_index_of_a_worked_example() -> None:
    # Pairs counted by hand: 2 together in both, 4 and 6 in either, of 15: (2-1.6)/(5-1.6).
    first, second = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 1])
    assert adjusted_rand_index(contingency(first, second, 3)) == pytest.approx(
        (2 - 4 * 7 / 15) / ((4 + 7) / 2 - 4 * 7 / 15)
    )
