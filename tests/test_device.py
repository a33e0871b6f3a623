"""Away from the host every search and every job gives what it gives there.

The device is one in disguise, and a GPU beside it where there is one.  The numbers in disguise are
the processor's: results differ by no more than the readable references from the compiled kernels.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import polars as pl
import pytest
import torch
from class_samples import Case, density, stack
from conftest import simulated
from disguise import DEVICE, NAME
from test_model_check import PIXEL as MODEL_PIXEL
from test_model_check import atoms, write_model
from test_model_check import density_of as model_density_of
from test_model_check import noise as noise_of
from torch import Tensor

from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.classify2d import Class2dConfig
from vitreous.config.ctf import CtfRefineConfig
from vitreous.config.maps import (
    AnisotropyConfig,
    CompareConfig,
    LocalResolutionConfig,
    ModelCheckConfig,
    PostprocessConfig,
    ReconstructConfig,
    SymmetryConfig,
)
from vitreous.config.particles import CheckConfig, SubtractConfig
from vitreous.config.refine import RefineConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.engine.grid_pass import SamplingGrid, neighbouring, search_pass
from vitreous.engine.image_fit import image_fit
from vitreous.engine.images import CtfMode, Frame, working_frame
from vitreous.engine.local_pass import PoseMatrices, local_pass
from vitreous.engine.maps import prior_power
from vitreous.engine.model import Model, of_one_map
from vitreous.engine.planes import PlaneImages, load_planes
from vitreous.engine.pose_refinement import Polished, RefinementContext, held_out_evidence, polish
from vitreous.engine.rings import load_rings
from vitreous.engine.searches.local import neighbourhood
from vitreous.engine.searches.prior import PlacePrior
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import Tiling
from vitreous.errors import OptionError
from vitreous.io.mrc import read_map, write_map
from vitreous.io.plain import plain
from vitreous.io.star import read_star
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.check.check import run_check
from vitreous.jobs.class2d.class2d import run_class2d
from vitreous.jobs.classify3d.classify3d import run_classify3d
from vitreous.jobs.compare import run_compare
from vitreous.jobs.ctf.ctf_refine import run_ctf_refine
from vitreous.jobs.maps.anisotropy import run_anisotropy
from vitreous.jobs.maps.local_resolution import run_local_resolution
from vitreous.jobs.maps.model_check import run_model_check
from vitreous.jobs.maps.postprocess import run_postprocess
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.maps.symmetry import run_symmetry
from vitreous.jobs.particles.subtract import run_subtract
from vitreous.jobs.refine.refine import run_refine
from vitreous.jobs.simulate import run_simulate
from vitreous.math.fourier import resample_map
from vitreous.math.rotations import random_rotations, turn_by
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops.running import running_total
from vitreous.particles.files import read_particles
from vitreous.particles.grid import common_grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_poses
from vitreous.particles.stack import ImageSource, open_images
from vitreous.reconstruct.solve import solve
from vitreous.runs.folder import ignore
from vitreous.runs.options import deterministic_on
from vitreous.schedules.abinit import splitting
from vitreous.schedules.refine.continuous import continuous_poses
from vitreous.schedules.refine.gold import gold_standard, references_from
from vitreous.validate.fsc import fsc
from vitreous.validate.symmetry.angular_orders import shell_power, shells_of
from vitreous.validate.symmetry.axis_search import tabulate
from vitreous.validate.symmetry.rotate import rotate_map, symmetrise_map
from vitreous.validate.symmetry.self_correlation import Placement, products

COUNT, BOX, PIXEL = 48, 32, 8.0
HOST = torch.device("cpu")
AWAY = [DEVICE, torch.device("cuda", 0)][: 1 + torch.cuda.is_available()]
WITHIN = 1e-4
"""Of the largest value."""


def values_of(found: Any) -> list[Tensor]:
    """All numbers in results, on the host."""
    if isinstance(found, Tensor):
        return [found.cpu()]
    if isinstance(found, (tuple, list)):
        return [value for part in found for value in values_of(part)]
    if is_dataclass(found):
        return values_of([getattr(found, field.name) for field in fields(found)])
    return [torch.from_numpy(found)] if isinstance(found, np.ndarray) else []


def alike(found: Tensor, expected: Tensor, within: float = WITHIN) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    new, old = found.double(), expected.double()
    assert float((new - old).abs().max()) <= within * max(float(old.abs().max()), 1e-20)


def same_everywhere(run: Callable[[torch.device], Any]) -> None:
    """Require a computation's results on every device to be those on the host."""
    expected = values_of(run(HOST))
    for device in AWAY:
        found = values_of(run(device))
        assert len(found) == len(expected) > 0
        for one, other in zip(found, expected, strict=True):
            alike(one, other)


# The disguise itself

THERE = torch.ones(2, 2, device=DEVICE)
HERE = torch.ones(2, 2)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: THERE + HERE,
        lambda: HERE + THERE,
        lambda: HERE * THERE.sum(),
        lambda: THERE @ HERE,
        lambda: torch.einsum("ij,jk->ik", HERE, THERE),
        lambda: torch.cat([THERE, HERE]),
        lambda: torch.stack([THERE[0, 0], HERE[0, 0]]),
        lambda: torch.where(THERE > 0, HERE, 0.0),
        lambda: THERE.index_add_(0, torch.tensor([0]), THERE[:1]),
        lambda: THERE.gather(0, HERE.long()),
        lambda: THERE[HERE > 0].add_(HERE.view(-1)),
        lambda: HERE[THERE > 0],
        lambda: THERE.__setitem__(torch.tensor([0]), HERE[:1]),
        lambda: THERE.numpy(),
        lambda: np.asarray(THERE),
        lambda: torch.randn(2, device=DEVICE, generator=torch.Generator()),
        lambda: THERE.long() @ THERE.long(),
    ],
)
def test_refuses_what_a_gpu_refuses(refused: Callable[[], Any]) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        refused()


def test_gives_the_hosts_numbers() -> None:
    values = torch.arange(6.0, device=DEVICE).view(2, 3)
    assert values.device == DEVICE
    assert values.T.contiguous().view(-1).tolist() == [0, 3, 1, 4, 2, 5]
    assert values[torch.tensor([1]), 2].item() == 5  # an index may lie on the host
    assert (values + torch.tensor(1.0)).sum().item() == 21  # and so may a number
    values[:, 0].add_(1)
    assert values[:, 0].tolist() == [1, 4]
    wave = torch.complex(values, values)
    assert torch.equal((wave * wave.conj()).imag.cpu(), torch.zeros(2, 3))
    assert torch.equal(torch.fft.fftfreq(4, device=DEVICE).cpu(), torch.fft.fftfreq(4))
    assert torch.equal(torch.eye(2, device=DEVICE).cpu(), torch.eye(2))
    assert torch.empty(2, 3).copy_(values).tolist() == torch.tensor(values.tolist()).tolist()
    with ThreadPoolExecutor(1) as other_thread:
        assert other_thread.submit(torch.zeros, 2, device=DEVICE).result().tolist() == [0, 0]


def test_refuses_what_no_gpu_does_the_same_way_twice() -> None:
    with deterministic_on(DEVICE), pytest.raises(RuntimeError, match="not deterministic"):
        THERE.cumsum(0)
    assert THERE.cumsum(0).tolist() == [[1, 1], [2, 2]]


def test_cublas_gets_a_workspace_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.setenv(name, ":16:8")
    with deterministic_on(torch.device("cuda")):
        assert os.environ[name] == ":16:8"
    monkeypatch.delenv(name)
    with deterministic_on(HOST):
        assert name not in os.environ
    with deterministic_on(torch.device("cuda")):
        assert os.environ[name] == ":4096:8"


def test_running_totals() -> None:
    shares = torch.rand(4, 3000, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    exact = shares.double().cumsum(dim=1).float()
    alike(running_total(shares), exact, 1e-6)
    alike(running_total(shares.to(DEVICE)).cpu(), exact, 1e-6)


# What searches are made of


@dataclass(frozen=True)
class Sample:
    """Particles of two optics groups, and two maps."""

    table: ParticleSet
    source: ImageSource
    frame: Frame
    maps: Tensor

    @property
    def index(self) -> Tensor:
        return torch.arange(len(self.table))

    @property
    def posed(self) -> PoseMatrices:
        poses = read_poses(self.table)
        origins = torch.from_numpy(poses.origins / self.frame.pixel_size).float()
        return PoseMatrices(torch.from_numpy(poses.matrices), origins)

    def planes(self, device: torch.device) -> PlaneImages:
        images = load_planes(self.table, self.source, self.frame, device, ignore, CtfMode())
        return replace(images, scale=torch.linspace(0.8, 1.2, len(self.table)))


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device") / "data"
    return simulated(folder, COUNT, box=BOX, pixel_size=PIXEL, snr=1.0, shift=1.0, seed=5)


@pytest.fixture(scope="module")
def sample(star: Path) -> Sample:
    one = read_particles(star)
    table = replace(one, optics=one.optics * 2, group=np.arange(COUNT) % 2)
    frame = working_frame(common_grid(table), 200.0, 20.0)
    volume = resample_map(torch.from_numpy(read_map(star.parent / "truth.mrc")[0]), frame.box)
    return Sample(table, open_images(table), frame, torch.stack([volume, volume.flip(0)]))


@pytest.mark.parametrize("group", ["C1", "C3", "D2"])
def test_global_search(sample: Sample, group: str) -> None:
    """Coarse, then near what that left, and the maps: some images are likelier junk."""
    operators, rings = point_group(group), sample.frame.polar.rings
    coarse, fine = orientation_grid(0, operators), orientation_grid(1, operators)
    junk = torch.linspace(-20, 20, COUNT)

    def searched(device: torch.device) -> Any:
        images = load_rings(sample.table, sample.source, sample.frame, device, ignore, CtfMode())
        maps, priors = sample.maps.to(device), torch.full((2,), 0.5, device=device)
        model = Model(maps, images.power(2), priors)
        scaled = images.with_group_scales(torch.tensor([0.9, 1.1], device=device))
        about = operators, sample.posed.origins

        def search(places: SamplingGrid, **options: Any) -> Any:
            own = sample.frame, sample.index, places, Tiling(40_000)
            return search_pass(model, scaled, *own, **options)

        first = search(SamplingGrid(coarse, shift_grid(1, 1), rings, *about), accumulate=False)
        near = neighbouring(first.best, coarse, fine, operators, 40.0)
        places = SamplingGrid(fine, shift_grid(1, 1), rings, *about, near, junk.to(device))
        found = search(places, similarity=0.1)
        prior = prior_power(maps, found.sums, rings, rings - 2)
        volume = solve(found.sums, prior, sample.frame.box, rings)
        best = found.best
        return (
            (near, best.log_evidence, best.map_probability, best.reference, best.psi, best.shift),
            (best.particle_probability, found.residual, found.count, found.fit, volume),
        )

    same_everywhere(searched)


@pytest.mark.parametrize("group", ["C1", "C3", "D2"])
@pytest.mark.parametrize("held", [False, True])
def test_local_search(sample: Sample, group: str, held: bool) -> None:
    """Round each particle's place; held by priors, about a fulcrum and at mates too."""
    operators, shells = point_group(group), sample.frame.polar.rings
    around, posed = neighbourhood(6.0, 1.0, shift_grid(1, 1), operators, 5.0), sample.posed
    prior = None
    if held:
        fulcrum = torch.tensor([2.0, -1.0, 3.0], dtype=torch.float64)
        around = replace(around, mates=point_group("C2"), fulcrum=fulcrum)
        prior = PlacePrior(posed.matrices, torch.full((COUNT, 2), 0.5), 8.0, 1.5)

    def searched(device: torch.device) -> Any:
        images = sample.planes(device)
        priors = torch.tensor([0.4, 0.6], device=device)
        model = Model(sample.maps.to(device), images.power(2), priors)
        found = local_pass(model, images, sample.index, posed, around, shells, prior=prior)
        assert found.sums is not None
        volume = solve(found.sums, None, sample.frame.box, shells)
        best = found.best
        assert best.matrices.device == HOST
        return (
            (best.matrices, best.origins, best.log_evidence, best.map_probability),
            (found.residual, found.count, found.fit, volume),
        )

    same_everywhere(searched)


def test_poses_off_the_lattice(sample: Sample) -> None:
    """From so far off that every step gains much more than rounding."""
    turns = turn_by(torch.full((COUNT, 3), 0.06, dtype=torch.float64))
    posed = PoseMatrices(turns @ sample.posed.matrices, sample.posed.origins + 0.5)

    def moved(device: torch.device) -> Any:
        images, shells = sample.planes(device), sample.frame.polar.rings
        volume, noise = sample.maps[0].to(device), images.power(2)
        found = continuous_poses(volume, images, sample.index, posed, noise, shells)
        assert found.matrices.device == HOST
        assert not torch.equal(found.matrices, posed.matrices)
        return found

    same_everywhere(moved)


@pytest.mark.slow
def test_polishing_evidence_held_out_and_fit_of_images(sample: Sample) -> None:
    folds = list(sample.index.chunk(4))

    def polished(device: torch.device) -> Any:
        images, shells = sample.planes(device), sample.frame.polar.rings
        only = torch.where(sample.index % 3 == 0, 0, -1)
        material = RefinementContext(images, sample.frame, point_group("C3"), True, 3.0, only)
        class_priors, scale = torch.full((2,), 0.5, device=device), torch.ones(2, device=device)
        state = Polished(sample.maps.to(device), images.power(2), class_priors, scale, sample.posed)
        evidence = held_out_evidence(material, state, folds, shells)
        ended = polish(material, state, folds, shells, 1, ignore)
        assert ended.maps.device == device and ended.fsc_filter is not None
        fit = image_fit(ended.maps, images, ended.posed, sample.index % 2, ended.noise, shells // 2)
        return evidence, ended.maps, ended.noise, ended.scale, ended.class_priors, ended.posed, fit

    same_everywhere(polished)


@pytest.mark.parametrize("nonuniform", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_halves_and_their_references(sample: Sample, nonuniform: bool, given: bool) -> None:
    # As far as 24 slices fill the cube: beyond, rounding is divided by next to nothing.
    shells, frame = sample.frame.polar.rings // 2, sample.frame
    alone = neighbourhood(6.0, 0.0, torch.zeros(1, 2), point_group("C1"), 1.0)
    mask = torch.ones((BOX,) * 3) if given else None

    def halves(device: torch.device) -> Any:
        images, unfiltered = sample.planes(device), []
        for index in sample.index.chunk(2):
            model = of_one_map(sample.maps[0].to(device), images.power(2))
            found = local_pass(model, images, index, sample.posed.at(index), alone, shells)
            assert found.sums is not None
            unfiltered.append(solve(found.sums, None, frame.box, shells))
        both = gold_standard(torch.cat(unfiltered), frame, shared=3.0, join=True, mask=mask, seed=1)
        references = references_from(both, shared=3.0, nonuniform=nonuniform)
        assert references.device == both.unfiltered.device == device
        return both.unfiltered, both.mask, both.curves, references

    same_everywhere(halves)


# Whole jobs

ROUNDED = ("rlnMaxValueProbDistribution", "vitreousClassPosterior")
"""Exponentials of differences of numbers in the thousands, which single precision rounds."""


def same_job(
    run: Callable[[Any], object], config: Any, tmp_path: Path, within: float = WITHIN
) -> None:
    """Require a job's maps and tables from every device to be those from the host."""
    run(replace(config, out=tmp_path / "here", device="cpu"))
    for device in AWAY:
        run(replace(config, out=tmp_path / device.type, device=str(device)))
        same_files(tmp_path / device.type, tmp_path / "here", within)


def same_files(there: Path, here: Path, within: float = WITHIN) -> None:
    # An aligned map is turned to where a search of another kind stops, within 0.001 of the best.
    maps = [path for path in here.rglob("*.mrc*") if "aligned" not in path.name]
    tables = [path for path in here.glob("*.star") if "particles" in read_star(path)]
    assert maps or tables
    for path in maps:
        alike(images_of(there / path.relative_to(here)), images_of(path), within)
    for path in tables:
        same_table(there / path.name, path)


def images_of(path: Path) -> Tensor:
    with mrcfile.open(path) as file:
        return torch.from_numpy(np.array(file.data))


def same_table(found: Path, expected: Path) -> None:
    new, old = (read_star(path)["particles"].frame for path in (found, expected))
    assert new.columns == old.columns
    for name in old.columns:
        try:
            one, other = (frame[name].cast(pl.Float64).to_numpy() for frame in (new, old))
        except pl.exceptions.InvalidOperationError:
            assert name == "rlnImageName" or new[name].equals(old[name])
            continue
        within = 1e-3 if name.startswith(ROUNDED) else WITHIN
        if name.startswith("rlnAngle"):
            assert np.abs((one - other + 180) % 360 - 180).max() <= within * 180, name
        else:
            assert np.abs(one - other).max() <= within * max(np.abs(other).max(), 1.0), name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"symmetry": "D3"},
        {"symmetry": "D2", "resolution_limit": 30.0},
        {"ewald": True, "curvature": "both", "halves": "random"},
        {"ctf": False, "halves": "none"},
    ],
)
def test_reconstruct(star: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    config = ReconstructConfig(star, out=tmp_path, **({"halves": "random"} | options))
    same_job(run_reconstruct, config, tmp_path)


@pytest.fixture(scope="module")
def half_maps(star: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("halves") / "job"
    run_reconstruct(ReconstructConfig(star, out=out, halves="random", device="cpu"))
    return out / "half1.mrc", out / "half2.mrc"


def test_postprocess(half_maps: tuple[Path, Path], tmp_path: Path) -> None:
    config = PostprocessConfig(*half_maps, out=tmp_path, fit_from=40.0, lowpass=20.0)
    same_job(run_postprocess, config, tmp_path)


def test_local_resolution(half_maps: tuple[Path, Path], tmp_path: Path) -> None:
    config = LocalResolutionConfig(*half_maps, out=tmp_path)
    same_job(run_local_resolution, config, tmp_path)


def numbers_in(record: Any) -> list[float]:
    """All numbers of a record, in order, but those that a job was given or that clocks tell."""
    if isinstance(record, dict):
        told = (v for k, v in record.items() if k not in ("config", "options", "timings", "seed"))
        return [value for part in told for value in numbers_in(part)]
    if isinstance(record, list):
        return [value for part in record for value in numbers_in(part)]
    return [] if isinstance(record, (str, bool, type(None))) else [float(record)]


def same_record(found: Any, expected: Any, within: float = WITHIN) -> None:
    new, old = numbers_in(found), numbers_in(expected)
    assert len(new) == len(old) > 0
    assert np.abs(np.subtract(new, old)).max() <= within * max(np.abs(old).max(), 1.0)


def record_of(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())


def test_anisotropy(half_maps: tuple[Path, Path], star: Path, tmp_path: Path) -> None:
    config = AnisotropyConfig(*half_maps, out=tmp_path, particles=star)
    run_anisotropy(replace(config, out=tmp_path / "here", device="cpu"))
    for device in AWAY:
        run_anisotropy(replace(config, out=tmp_path / device.type, device=str(device)))
        same_record(record_of(tmp_path / device.type), record_of(tmp_path / "here"))


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True])
def test_symmetry(half_maps: tuple[Path, Path], tmp_path: Path, given: bool) -> None:
    """Scores where the axes were found; with half-maps or noise from the solvent."""
    whole = half_maps[0].with_name("map.mrc")
    own = dict(zip(("half1", "half2"), half_maps, strict=True)) if given else {}
    config = SymmetryConfig(whole, align="D3", impose=True, resolution_limit=30.0, **own)
    here = run_symmetry(replace(config, out=tmp_path / "here.mrc", device="cpu"))
    laid = read_map(tmp_path / "here.mrc")[0]
    for device in AWAY:
        out = tmp_path / f"{device.type}.mrc"
        there = run_symmetry(replace(config, out=out, device=str(device)))
        same_record(asdict_of(there.finding), asdict_of(here.finding), 1e-3)
        same_places(read_map(out)[0], laid)


def asdict_of(found: Any) -> Any:
    return json.loads(json.dumps(plain(asdict(found))))


def same_places(found: np.ndarray, expected: np.ndarray) -> None:
    """Maps turned to where two searches stop, which is within a little of the best place."""
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 1 - WITHIN


def test_maps_turned_and_averaged(sample: Sample) -> None:
    matrix, shift = random_rotations(1, 3)[0].numpy(), np.array([1.5, -0.5, 2.0])

    def laid(device: torch.device) -> Any:
        volume = sample.maps[0].to(device)
        turned = symmetrise_map(volume, point_group("D2"), matrix, shift)
        return turned, rotate_map(volume, matrix, shift), fsc(turned, volume)[:-1]

    same_everywhere(laid)


def test_symmetry_of_all_groups_is_read_alike(sample: Sample) -> None:
    """At given places: what the scores are made of, without the search for them."""

    def read(device: torch.device) -> Any:
        shells = shells_of(sample.maps[0].to(device), 6, 0.8)
        place = Placement(random_rotations(1, 3)[0], torch.tensor([0.5, -1.0, 0.3]).double())
        weights = torch.linspace(1, 2, 6)
        table = tabulate(shells_of(sample.maps[0].to(device), 3, 0.8), weights[:3], place.centre)
        found = [products(shells, group, place) for group in ("C3", "D2", "T", "O", "I")]
        squares = torch.view_as_real(table.squares)
        return found, table.power, squares, shell_power(shells, place.centre)

    same_everywhere(read)


@pytest.mark.slow
def test_compare(half_maps: tuple[Path, Path], star: Path, tmp_path: Path) -> None:
    config = CompareConfig(half_maps[0], star.parent / "truth.mrc")
    here = run_compare(replace(config, out=tmp_path / "here.mrc", device="cpu"))
    for device in AWAY:
        out = tmp_path / f"{device.type}.mrc"
        there = run_compare(replace(config, out=out, device=str(device)))
        assert there.volume.device == device
        assert abs(there.correlation - here.correlation) < WITHIN
        assert abs(there.correlation_25 - here.correlation_25) < WITHIN
        assert np.abs(there.fsc - here.fsc).max() < 10 * WITHIN  # shells with few coefficients
        assert there.hand == here.hand and there.mask_diameter == here.mask_diameter
        same_places(read_map(out)[0], read_map(tmp_path / "here.mrc")[0])


def test_model_check(tmp_path: Path) -> None:
    """As the model lies; that maps are laid on others alike is tested with compare."""
    write_map(
        tmp_path / "map.mrc", (model_density_of(atoms()) + noise_of(1, 0.3)).numpy(), MODEL_PIXEL
    )
    for number in (1, 2):
        half = model_density_of(atoms()) + noise_of(number + 1, 0.3)
        write_map(tmp_path / f"half{number}.mrc", half.numpy(), MODEL_PIXEL)
    model = write_model(tmp_path / "model.cif", atoms() + 1.5)
    config = ModelCheckConfig(
        model, tmp_path / "map.mrc", out=tmp_path, half1=tmp_path / "half1.mrc",
        half2=tmp_path / "half2.mrc", resolution_limit=9.0, fit=False,
    )  # fmt: skip
    run_model_check(replace(config, out=tmp_path / "here", device="cpu"))
    for device in AWAY:
        run_model_check(replace(config, out=tmp_path / device.type, device=str(device)))
        new, old = (record_of(tmp_path / name) for name in (device.type, "here"))
        for name in ("correlation", "correlation_by_hand", "fsc"):
            same_record({name: new[name]}, {name: old[name]})
        found, expected = (images_of(tmp_path / d / "model.mrc") for d in (device.type, "here"))
        alike(found, expected)


def test_simulate(star: Path, tmp_path: Path) -> None:
    config = SimulateConfig(star.parent / "truth.mrc", out=tmp_path, n=20, snr=1.0)
    same_job(run_simulate, config, tmp_path)


def test_check(tmp_path: Path) -> None:
    """Enough particles to measure contrast, diameter and what was done about the CTF."""
    star = simulated(tmp_path / "data", 500, box=48, pixel_size=5.0, snr=1.0, seed=5)
    here = run_check(CheckConfig(star, device="cpu"))
    assert here.estimates.diameter is not None and here.estimates.contrast is not None
    for device in AWAY:
        there = run_check(CheckConfig(star, device=str(device)))
        assert [f.code for f in there.findings] == [f.code for f in here.findings]
        same_record(asdict_of(there.estimates), asdict_of(here.estimates))


@pytest.mark.parametrize(
    "options",
    [
        {"defocus": True},
        {"astigmatism": True},
        {"beam_tilt": True, "trefoil": True},
        {"magnification": True},
    ],
)
def test_ctf_refine(star: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    truth = star.parent / "truth.mrc"
    config = CtfRefineConfig(star, out=tmp_path, map=truth, lowest_resolution=60.0, **options)
    same_job(run_ctf_refine, config, tmp_path)


@pytest.mark.parametrize(
    "options", [{}, {"particle_scale": "fitted", "recentre_on_mask": True, "box": 24}]
)
def test_subtract(star: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    mask = tmp_path / "mask.mrc"
    half = np.zeros((BOX,) * 3, np.float32)
    half[:, :, : BOX // 2] = 1
    write_map(mask, half, PIXEL)
    config = SubtractConfig(star, out=tmp_path, map=star.parent / "truth.mrc", mask=mask, **options)
    same_job(run_subtract, config, tmp_path)


@pytest.mark.parametrize(
    ("run", "config"),
    [
        (run_reconstruct, ReconstructConfig("p.star", out="o", device="nowhere")),
        (run_ctf_refine, CtfRefineConfig("p.star", out="o", device="nowhere")),
        (run_subtract, SubtractConfig("p.star", out="o", device="nowhere")),
        (run_postprocess, PostprocessConfig("a.mrc", "b.mrc", out="o", device="nowhere")),
        (run_local_resolution, LocalResolutionConfig("a.mrc", "b.mrc", out="o", device="nowhere")),
        (run_anisotropy, AnisotropyConfig("a.mrc", "b.mrc", out="o", device="nowhere")),
        (run_symmetry, SymmetryConfig("a.mrc", device="nowhere")),
        (run_compare, CompareConfig("a.mrc", "b.mrc", device="nowhere")),
        (run_model_check, ModelCheckConfig("a.pdb", "b.mrc", out="o", device="nowhere")),
        (run_simulate, SimulateConfig("a.pdb", out="o", device="nowhere")),
        (run_check, CheckConfig("p.star", device="nowhere")),
    ],
)
def test_a_device_that_is_not_there_is_told(run: Callable[[Any], object], config: Any) -> None:
    with pytest.raises(OptionError, match="'nowhere' is not a device of this machine"):
        run(config)


@pytest.mark.slow
# With two classes and seed 0 rounding grows to 2.5e-4 on one kind of processor, and not on others.
@pytest.mark.parametrize("options", [{}, {"classes": 2, "seed": 1}])
def test_abinit(
    star: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    # So few particles let rounding grow in the rounds after a map is begun anew.
    monkeypatch.setattr(splitting, "_IN_VAIN", 0)
    config = AbinitConfig(
        star,
        out=tmp_path,
        initial_iterations=3,
        between_iterations=3,
        final_iterations=1,
        angular_sampling=30.0,
        final_resolution=25.0,
        polish_passes=1,  # with so few particles every further pass makes rounding a thousand fold
        precision="float32",
        check=False,
        **({"starts": 1} | options),
    )
    same_job(run_abinit, config, tmp_path)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("classes")
    found = stack(folder, (192, 128))
    for kind in (0, 1):
        write_map(folder / f"reference{kind}.mrc", density(kind).numpy(), 8.0)
    return Case(found, (folder / "reference0.mrc", folder / "reference1.mrc"))


def classification(case: Case, out: Path, **options: Any) -> Classify3dConfig:
    quick = {"resolution_limit": 25.0, "iterations": 3, "angular_sampling": 15.0}
    several = {"reference": case.references, "classes": None, "precision": "float32"}
    return case.config(out, **(quick | several | options))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"align": False}])
def test_class2d(star: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Without class similarity, which raises what the kernels leave out of posteriors.

    On rings where CTFs are nearly 0 the averages divide by little, and so differ by more.
    """
    quick = {"classes": 3, "iterations": 2, "resolution_limit": 25.0, "mask_diameter": 200.0}
    exact = {"precision": "float32", "class_similarity": 0.0, "check": False}
    config = Class2dConfig(star, out=tmp_path, **(quick | exact | options))
    same_job(run_class2d, config, tmp_path, within=3e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"align": False}, {"local_search": 20.0, "hard": True}, {"fixed": "2"}],
)
def test_classify3d(classes: Case, tmp_path: Path, options: dict[str, Any]) -> None:
    same_job(run_classify3d, classification(classes, tmp_path, **options), tmp_path)


@pytest.mark.slow
def test_one_reference_split(classes: Case, tmp_path: Path) -> None:
    one = {"reference": classes.references[:1], "classes": 2}
    same_job(run_classify3d, classification(classes, tmp_path, **one), tmp_path)


@pytest.mark.slow
def test_classify3d_goes_on_from_a_checkpoint(classes: Case, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "classification" and event["iteration"] == 2:
            raise Interrupted

    here, there = tmp_path / "here", tmp_path / "there"
    run_classify3d(classification(classes, here, align=False, device="cpu"))
    with pytest.raises(Interrupted):
        run_classify3d(classification(classes, there, align=False, device=NAME), stop)
    run_classify3d(classification(classes, there, align=False, device=NAME, resume=True))
    same_files(there, here)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many that it does not matter whether rounding puts one slice above what counts."""
    folder = tmp_path_factory.mktemp("many") / "data"
    return simulated(folder, 8 * COUNT, box=BOX, pixel_size=PIXEL, snr=1.0, shift=1.0, seed=5)


def refinement(star: Path, out: Path, **options: Any) -> RefineConfig:
    """On the lattice alone: off it, whether a step gains anything may be a matter of rounding."""
    quick = {"mask_diameter": 200.0, "iterations": 4, "check": False, "continuous": False}
    return RefineConfig(star, reference=star.parent / "truth.mrc", out=out, **(quick | options))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "local_search": 7.5,
            "regulariser": "spherical",
            "per_particle_scale": True,
            "iterations": 3,
        },
        {
            "local_search": 7.5,
            "shift_prior": 4.0,
            "fulcrum": (10.0, 0.0, 0.0),
            "relax_symmetry": "C2",
            "iterations": 2,
        },
    ],
)
def test_refine(many: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    same_job(run_refine, refinement(many, tmp_path, **options), tmp_path)


@pytest.mark.slow
def test_refine_goes_on_from_a_checkpoint(star: Path, tmp_path: Path) -> None:
    """To the same bits as in one go."""
    once, again = tmp_path / "once", tmp_path / "again"
    options = {"local_search": 7.5, "continuous": True, "device": NAME}
    run_refine(refinement(star, once, iterations=3, **options))
    run_refine(refinement(star, again, iterations=2, **options))
    run_refine(refinement(star, again, iterations=3, resume=True, **options))
    assert torch.equal(images_of(again / "half1.mrc"), images_of(once / "half1.mrc"))
    same_table(again / "particles.star", once / "particles.star")
