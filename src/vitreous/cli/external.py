"""``vitreous external``: any command as an External job of RELION."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import CycloptsError, Parameter

from vitreous.cli.app import app
from vitreous.cli.failures import BAD_INPUT
from vitreous.report.terminal import print_lines


@app.command
def external(
    command: str,
    *words: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> None:
    """Run a command as an External job of RELION, from the project's root.

    In RELION's form the executable is "vitreous external refine", or another command's name; input
    particles, 3D reference and mask are passed on, and so are the parameters, under the names of
    the command's options.  Results are in a folder of the command's name in the job's folder.

    Parameters
    ----------
    command
        Command that is run.
    words
        What RELION passes: --o External/jobNNN/ --in_parts FILE and so on.
    """
    from vitreous.runs.relion_job import run_external

    def run(arguments: Sequence[str]) -> None:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")

    try:
        run_external(command, words, run)
    except CycloptsError as error:
        print_lines(f"error: {error}", stderr=True)
        sys.exit(BAD_INPUT)
