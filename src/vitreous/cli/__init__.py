"""The command ``vitreous``: every option comes from a configuration class in ``jobs/``."""

from __future__ import annotations

import sys

from vitreous.cli import ctf, maps, particles, search, volumes
from vitreous.cli.app import BAD_INPUT, INTERRUPTED, app, arrange_commands
from vitreous.errors import VitreousError

__all__ = [
    "app",
    "ctf",
    "main",
    "maps",
    "particles",
    "search",
    "volumes",
]

arrange_commands()


def main() -> None:
    """Run the command; what a user can mend ends in one line and exit code 2."""
    try:
        app()
    except VitreousError as error:
        print(f"error: {error.line()}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print(
            "interrupted; abinit, classify3d and refine go on from their checkpoint with --resume",
            file=sys.stderr,
        )
        sys.exit(INTERRUPTED)
