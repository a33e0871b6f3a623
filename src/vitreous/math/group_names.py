"""Names of point groups."""

from __future__ import annotations

import re

from vitreous.errors import OptionError

_POLYHEDRAL = ("T", "O", "I1", "I2", "I3", "I4")


def normalise_name(name: str, option: str = "--symmetry") -> str:
    """Upper-case name of a point group, ``I`` spelt out as RELION's ``I2``.

    ``option`` is what an error names.

    Raises
    ------
    OptionError
        For anything but Cn, Dn, T, O, I, I1 to I4.
    """
    group = name.strip().upper()
    group = "I2" if group == "I" else group
    if not (group in _POLYHEDRAL or re.fullmatch(r"[CD][1-9]\d{0,2}", group)):
        raise OptionError(
            f"{name!r} is not a point group this program knows",
            where=option,
            hint="give C1, Cn, Dn, T, O, I or I1 to I4",
        )
    return group


def is_polyhedral(group: str) -> bool:
    """Whether a point group is T, O or I: coarse density under it shows no hand."""
    return group.strip().upper() in (*_POLYHEDRAL, "I")
