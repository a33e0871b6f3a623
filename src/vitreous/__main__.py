"""The command's entry, which also lets ``python -m vitreous`` stand for it."""

from __future__ import annotations

from vitreous.garbage import look_no_more, look_seldom
from vitreous.interruption import raise_on_signals
from vitreous.ops.host_memory import share_one_heap


def main() -> None:
    """Run the command; signals are heard while its parts are still being loaded."""
    raise_on_signals()
    share_one_heap()
    look_seldom()
    try:
        from vitreous.cli import main as command

        command()
    finally:
        look_no_more()


if __name__ == "__main__":
    main()
