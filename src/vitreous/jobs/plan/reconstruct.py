"""What a reconstruction will take."""

from __future__ import annotations

from vitreous.config.maps import ReconstructConfig
from vitreous.engine.free_memory import free_memory
from vitreous.engine.memory import ON_HOST, MemoryPlan
from vitreous.engine.searches.tiles import Tiling
from vitreous.engine.shards import Shards
from vitreous.engine.work import Work
from vitreous.imaging.project import cube_side
from vitreous.jobs.maps.curvature import trials
from vitreous.jobs.maps.reconstruct import LIBRARIES, begin, check_memory
from vitreous.jobs.plan.counted import Counted
from vitreous.math.symmetry import lattice_cosets, point_group
from vitreous.reconstruct.backproject import half_plane
from vitreous.runs.folder import check_folder


def counted(config: ReconstructConfig) -> Counted:
    """Check a job and count its operations.

    Raises
    ------
    VitreousError
        As the job would.
    """
    begun = begin(config)
    check_memory(begun.needed, config, begun.device)
    particles, grid, table = begun.particles, begun.grid, begun.particles.table
    check_folder(config, table.stacks)
    count, turns = len(particles.rows), len(lattice_cosets(point_group(config.symmetry))[1])
    side = cube_side(grid.radius, config.padding)
    maps, ways = 2 * particles.maps - 1, len(trials(config, grid))
    slices = len(half_plane(grid.box, grid.radius)) * (2 if config.ewald else 1)
    judged = float(grid.box**3) if particles.half is not None else 0.0
    shards = Shards.of(count, config.ranks)
    stages = {
        "inserting": Work(placed=float(count * slices * turns)).of_one_rank(shards).times(ways),
        "solving": Work(solved=float(maps * side**2 * (side // 2 + 1))).times(ways),
        "maps judged": Work(judged=judged).times(ways),
    }
    parts = {ON_HOST[0]: LIBRARIES, "maps": begun.needed - LIBRARIES}
    memory = MemoryPlan(parts, free_memory(begun.device), Tiling(), {})
    return Counted(count, begun.device, memory, stages, (), list(particles.warnings))
