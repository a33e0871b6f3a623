"""How long each operation takes on this machine: measured once, in a few seconds, and kept."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous import __version__
from vitreous.config.maps import ReconstructConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.engine.grid_pass import SamplingGrid, search_pass
from vitreous.engine.images import CtfMode, Frame, working_frame
from vitreous.engine.local_pass import PoseMatrices, local_pass
from vitreous.engine.maps import PADDING, solved
from vitreous.engine.model import Model, of_one_map
from vitreous.engine.planes import PlaneImages, load_planes
from vitreous.engine.reader import ImageReader
from vitreous.engine.rings import RingImages, load_rings
from vitreous.engine.searches.local import neighbourhood
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import Tiling
from vitreous.engine.work import Work, half_plane_samples, ring_pass
from vitreous.imaging.envelope import automatic_mask
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.project import cube_side
from vitreous.jobs.maps.posed_particles import choose_particles, posed_batches
from vitreous.jobs.simulate import simulate
from vitreous.math.fourier import resample_map
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops.precision import product_dtype
from vitreous.particles.files import read_particles
from vitreous.particles.grid import common_grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_poses
from vitreous.particles.stack import ImageSource, open_images
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.reconstruct.backproject import backproject, half_plane, map_grid
from vitreous.reconstruct.solve import least_squares_maps, solve
from vitreous.runs.folder import ignore
from vitreous.runs.user_cache import keep, kept
from vitreous.schedules.refine.continuous import continuous_poses
from vitreous.schedules.refine.gold import Halves, gold_standard, references_from
from vitreous.validate.half_maps import half_map_curves
from vitreous.validate.truth import align

_FILE = "speeds.json"

_COUNT, _BOX, _PIXEL_SIZE, _DIAMETER, _RESOLUTION = 160, 64, 4.0, 180.0, 11.0
"""Images that are simulated: how many, pixels, angstrom; the mask, and the resolution, angstrom."""

_FEW, _FEW_RINGS = 4, 5
"""Images and rings of a pass that is next to nothing."""

_OFTEN, _A_WHILE = 8, 0.5
"""Times at most that something is timed, and seconds after which it is not timed again."""

_LOADED = "import vitreous.jobs.abinit.abinit, vitreous.jobs.refine.refine, vitreous.report.html"
"""What a job and its report load."""


def _name_of(device: torch.device) -> str:
    """The device as its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _spent(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that something takes, or would on a processor that nothing else keeps busy."""
    began, used = time.perf_counter(), time.process_time()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, own = time.perf_counter() - began, time.process_time() - used
    # One thread alone that waits for a busy core has spent less than the clock says.
    return min(wall, own) if device.type == "cpu" else wall


def _least(run: Callable[[], object], device: torch.device, repeats: int = 2) -> float:
    """The same, the shortest of several times once all is compiled.

    What is short is timed more often, as it suffers more from other work.
    """
    run()
    times, began = [_spent(run, device) for _ in range(repeats)], time.perf_counter()
    while len(times) < _OFTEN and time.perf_counter() - began < _A_WHILE:
        times.append(_spent(run, device))
    return max(1e-9, min(times))


def _without(whole: float, part: float) -> float:
    """Seconds of a whole that are not its part's; at least a quarter of them.

    What was timed while other work kept the machine busy may be shorter than its part alone.
    """
    return max(whole - part, whole / 4)


@dataclass(frozen=True)
class _Sample:
    """Simulated particles, and what searches read of them.

    Attributes
    ----------
    table : ParticleSet
    source : ImageSource
    frame : Frame
    device : torch.device
    rings : RingImages
    planes : PlaneImages
    map : tensor (n, n, n)
        The true one in the working box.
    """

    table: ParticleSet
    source: ImageSource
    frame: Frame
    device: torch.device
    rings: RingImages
    planes: PlaneImages
    map: Float[Tensor, "n n n"]

    def model(self, images: RingImages | PlaneImages) -> Model:
        """The true map, under the power of the images."""
        return of_one_map(self.map, images.power(1))

    def posed(self) -> PoseMatrices:
        """The true poses."""
        poses = read_poses(self.table)
        origins = torch.from_numpy(poses.origins / self.frame.pixel_size).float()
        return PoseMatrices(torch.from_numpy(poses.matrices), origins)


def _sample(folder: Path, device: torch.device) -> _Sample:
    config = SimulateConfig(
        Path("built-in"), out=folder / "data", n=_COUNT, snr=0.2, device=str(device)
    )
    volume = built_in_phantom(_BOX, _PIXEL_SIZE)
    table = read_particles(simulate(volume, _PIXEL_SIZE, config))
    source, frame = open_images(table), working_frame(common_grid(table), _DIAMETER, _RESOLUTION)
    own = table, source, frame, device
    images = (load(*own, ignore, CtfMode()) for load in (load_rings, load_planes))
    rings, planes = images
    assert isinstance(rings, RingImages) and isinstance(planes, PlaneImages)
    return _Sample(*own, rings, planes, resample_map(volume, frame.box).to(device))


def _ring_search(sample: _Sample, images: int, rings: int) -> Callable[[], object]:
    """A pass on rings with its maps, as mini-batches have them."""
    group, model = point_group("C1"), sample.model(sample.rings)
    places = SamplingGrid(orientation_grid(2, group), shift_grid(4.0, 1.4), rings, group)
    index, tiling = torch.arange(images), Tiling(dtype=product_dtype(sample.device, "auto"))

    def run() -> object:
        found = search_pass(model, sample.rings, sample.frame, index, places, tiling)
        assert found.sums is not None
        return solved(found.sums, None, sample.frame, rings, True)

    return run


def _local_search(sample: _Sample, index: Tensor) -> tuple[Callable[[], Accumulator], int]:
    """A pass round the true poses; and how many turns each image is compared at."""
    around = neighbourhood(3.75, 1.7, shift_grid(1.7, 1.0), point_group("C1"), 5.0)
    model, shells = sample.model(sample.planes), sample.frame.polar.rings
    posed = sample.posed().at(index)

    def run() -> Accumulator:
        found = local_pass(model, sample.planes, index, posed, around, shells)
        assert found.sums is not None
        return found.sums

    return run, around.orientations


def _search_speeds(sample: _Sample) -> dict[str, float]:
    """Speeds of what all searches do."""
    device, frame = sample.device, sample.frame
    own = sample.table, sample.source, frame
    reader, rows = ImageReader(*own), torch.arange(_COUNT).numpy()
    read = _least(lambda: reader.masked(0, rows), device)
    to_rings = _least(lambda: load_rings(*own, device, ignore, CtfMode()), device, 1)
    few, more = (
        _least(_ring_search(sample, _FEW, rings), device)
        for rings in (_FEW_RINGS, frame.polar.rings)
    )
    low, high = (cube_side(rings + 1, PADDING) ** 3 for rings in (_FEW_RINGS, frame.polar.rings))
    voxel = _without(more, few) / (high - low)
    each = _without(few, voxel * low)
    whole = _least(_ring_search(sample, _COUNT, frame.polar.rings), device)
    grid = len(orientation_grid(2, point_group("C1")).directions) * 24
    products = ring_pass(_COUNT - _FEW, grid, frame.polar.rings, 1).products
    local, turns = _local_search(sample, torch.arange(_COUNT))
    samples = half_plane_samples(frame.polar.rings)
    on_rings = _COUNT * frame.polar.rings * frame.polar.half * frame.box
    return {
        "pixels": read / (_COUNT * _BOX**2),
        "ring_samples": _without(to_rings, read) / on_rings,
        "passes": each,
        "voxels": voxel,
        "products": _without(whole, more) / products,
        "slices": _without(_least(local, device), each + voxel * high) / (_COUNT * turns * samples),
    }


def _map_speeds(sample: _Sample) -> dict[str, float]:
    """Speeds of what refinement and the end of every search do."""
    device, frame = sample.device, sample.frame
    shells, index = frame.polar.rings, torch.arange(_COUNT // 2)
    noise, posed = sample.planes.power(1), sample.posed().at(index)
    climbed = _least(
        lambda: continuous_poses(sample.map, sample.planes, index, posed, noise, shells),
        device,
        1,
    )
    sums = [_local_search(sample, part)[0]() for part in torch.arange(_COUNT).chunk(2)]

    def compared() -> Halves:
        unfiltered = torch.cat([solve(half, None, frame.box, shells) for half in sums])
        return gold_standard(unfiltered, frame, shared=6.0, join=True, mask=None, seed=0)

    def halves() -> Any:
        return references_from(compared(), shared=6.0, nonuniform=True)

    first, second = compared().unfiltered

    def judged() -> Any:
        automatic_mask(first, second, frame.pixel_size)
        return half_map_curves(first, second, torch.ones_like(first), 0)

    volume = sample.map.cpu()
    return {
        "derivatives": climbed / (len(index) * half_plane_samples(shells)),
        "halves": _least(halves, device, 1) / frame.box**3,
        "judged": _least(judged, device, 1) / frame.box**3,
        "alignments": _spent(
            lambda: align(volume, volume, frame.pixel_size, hands=(False,)), torch.device("cpu")
        ),
    }


def _posed_speeds(sample: _Sample) -> dict[str, float]:
    """Speeds of a reconstruction at known poses."""
    device, grid = sample.device, map_grid(_BOX, _PIXEL_SIZE)
    config = ReconstructConfig(sample.table.path, out=Path("none"), halves="none")
    particles = choose_particles(config, sample.table)

    def placed() -> Accumulator:
        batches = posed_batches(particles, sample.source, config, device)
        return backproject(batches, grid, device=device)

    cube = placed()
    return {
        "placed": _least(placed, device) / (_COUNT * len(half_plane(_BOX, grid.radius))),
        "solved": _least(lambda: least_squares_maps(cube, _BOX, grid.radius), device)
        / (cube.side**2 * (cube.side // 2 + 1)),
    }


def _starting() -> float:
    """Seconds until a new process has loaded the libraries."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", _LOADED], check=True, capture_output=True)
    wall, after = time.perf_counter() - began, os.times()
    own = after.children_user + after.children_system
    own -= before.children_user + before.children_system
    return min(wall, own) if own > 0 else wall  # Windows does not tell of children


def measure_speeds(device: torch.device) -> Work:
    """Seconds that one of each operation takes on a device, measured now."""
    with tempfile.TemporaryDirectory() as folder:
        sample = _sample(Path(folder), device)
        found = _search_speeds(sample) | _map_speeds(sample) | _posed_speeds(sample)
    return Work(starting=_starting(), **found)


def speeds_on(device: torch.device) -> Work:
    """The same as measured when it was first asked for: by device, threads and version."""
    key = f"{_name_of(device)} | {torch.get_num_threads()} threads | {__version__}"
    entry = kept(_FILE, key)
    names = {field.name for field in fields(Work)}
    if isinstance(entry, dict) and set(entry) == names:
        return Work(**{name: float(value) for name, value in entry.items()})
    found = measure_speeds(device)
    keep(_FILE, key, asdict(found))
    return found
