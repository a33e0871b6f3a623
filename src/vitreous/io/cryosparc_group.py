"""cryoSPARC's ``.csg`` files: a small YAML that names the ``.cs`` files of a group of results."""

from __future__ import annotations

import re
from pathlib import Path

from vitreous.errors import InputError
from vitreous.io.regular import require_regular

_METAFILE = re.compile(r"^\s+metafile:\s*(?P<quote>['\"]?)(?P<name>.+?)(?P=quote)\s*$")


def read_csg(path: Path) -> list[Path]:
    """The ``.cs`` files that a group consists of, each once, in its order.

    Only the lines ``metafile: '>NAME'`` matter; ``>`` stands for the group's own folder.

    Raises
    ------
    InputError
        For a file that cannot be read, names no file, or names one that is not there.
    """
    require_regular(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("is no text file", where=path, hint="give cryoSPARC's .csg") from error
    names = [found["name"] for line in lines if (found := _METAFILE.match(line))]
    files = list(dict.fromkeys(path.parent / name.removeprefix(">") for name in names))
    if not files:
        raise InputError(
            "names no .cs file: no line reads metafile: '>NAME.cs'",
            where=path,
            hint="give the .csg of a group of particles",
        )
    for file in files:
        if not file.is_file():
            raise InputError(
                f"names {file.name}, which is not there", where=path, hint="copy it beside the .csg"
            )
    return files
