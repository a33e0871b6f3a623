"""The command's entry, which also lets ``python -m vitreous`` stand for it."""

from __future__ import annotations

from vitreous.interruption import raise_on_signals


def main() -> None:
    """Run the command; signals are heard while its parts are still being loaded."""
    raise_on_signals()
    from vitreous.cli import main as command

    command()


if __name__ == "__main__":
    main()
