"""The command ``vitreous``: every option comes from a configuration class in ``jobs/``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from vitreous.cli import (
    ctf,
    external,
    maps,
    micrographs,
    movies,
    particles,
    plan,
    process,
    projects,
    search,
    submit,
    volumes,
)
from vitreous.cli.app import app, arrange_commands
from vitreous.cli.failures import BAD_INPUT, interruption_line, line_of, number_of
from vitreous.errors import RankLostError
from vitreous.interruption import end_at_once, exit_code, raise_on_signals
from vitreous.report.terminal import print_lines
from vitreous.runs.ranks import SHORT_FORM, count_of_ranks, is_first_rank, speaks

__all__ = [
    "app",
    "ctf",
    "external",
    "main",
    "maps",
    "micrographs",
    "movies",
    "particles",
    "plan",
    "process",
    "projects",
    "search",
    "submit",
    "volumes",
]

arrange_commands()


def _told_elsewhere(error: Exception) -> bool:
    """Whether the process that started the ranks tells which of them was lost."""
    return isinstance(error, RankLostError) and SHORT_FORM in os.environ


def _run(words: list[str]) -> None:
    """Run a command; in a project it gets a numbered folder where it names none."""
    placed = projects.with_folder(words)
    if placed is not words:
        sys.argv[1:] = placed  # for ranks, and for the line that says how to go on
        print_lines(f"Folder: {placed[-1]}", stderr=True)
    try:
        app(placed)
    finally:
        if placed is not words:
            projects.drop_if_empty(placed)


def main() -> None:
    """Run the command.

    What a user can mend ends in one line and exit code 2; a signal in one line with the command
    that goes on, and exit code 128 and the signal's number.
    """
    raise_on_signals()
    try:
        _run(sys.argv[1:])
    except KeyboardInterrupt as error:
        if is_first_rank():
            with suppress(OSError):  # the terminal may be gone
                print_lines(interruption_line(error, sys.argv[1:]), stderr=True)
        end_at_once(exit_code(number_of(error)))
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        if not _told_elsewhere(error) and speaks():
            print_lines(f"error: {line}", stderr=True)
        if count_of_ranks() > 1:
            end_at_once(BAD_INPUT)  # a signal to end is on its way to the ranks that are left
        sys.exit(BAD_INPUT)
