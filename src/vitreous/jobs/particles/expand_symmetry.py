"""Write every particle once for each pose that a symmetric map cannot tell from its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vitreous.config.particles import ExpandSymmetryConfig
from vitreous.errors import OptionError
from vitreous.math.group_names import normalise_name
from vitreous.particles.files import formats_beside, read_particles, write_particles
from vitreous.particles.groups import image_numbers
from vitreous.particles.symmetry_expansion import expand_symmetry
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.targets import inputs_of, spare_inputs, spared
from vitreous.validate.particles.duplicates import repeats


@dataclass(frozen=True)
class Expansion:
    """What :func:`run_expand_symmetry` wrote.

    Attributes
    ----------
    star : Path
    group : str
        RELION's name of it.
    particles, rows : int
        Before and after.
    warnings : tuple of str
    """

    star: Path
    group: str
    particles: int
    rows: int
    warnings: tuple[str, ...]


def _group(name: str) -> str:
    if name.strip().upper().startswith("H"):
        raise OptionError(
            f"{name!r}: helices are not expanded, as they have a rise and no finite group",
            where="--symmetry",
            hint="use relion_particle_symmetry_expand --helix, or name a point group",
        )
    return normalise_name(name)


def run_expand_symmetry(config: ExpandSymmetryConfig, on_event: OnEvent = ignore) -> Expansion:
    """Expand a table under a point group.

    Raises
    ------
    VitreousError
        For helices, unknown groups, C1, particles without poses, and files that cannot be used.
    """
    group = _group(config.symmetry)
    if group == "C1":
        raise OptionError(
            "C1 has one pose for each particle", where="--symmetry", hint="name the map's group"
        )
    for path in formats_beside(config.out, config.write):
        spared(path, inputs_of(config), config.overwrite)
    table = read_particles(config.particles, need_images=False)
    spare_inputs(config.out, table.stacks)
    twice = len(repeats(image_numbers(table).tolist()))
    warnings = (
        (f"{twice} rows repeat the image of another: was the table expanded before?",)
        if twice
        else ()
    )
    expanded = expand_symmetry(table, group)
    write_particles(config.out, expanded, write=config.write)
    result = Expansion(config.out, group, len(table), len(expanded), warnings)
    on_event({"event": "expanded", "particles": result.particles, "rows": result.rows})
    return result
