"""A bar of progress in a notebook: HTML that is drawn anew in its place, without widgets."""

from __future__ import annotations

from html import escape
from typing import Any

from rich.progress import TaskID


class NotebookBar:
    """Stands in for rich's ``Progress``, which needs ipywidgets in a notebook."""

    def __init__(self) -> None:
        self._handle: Any = None

    def start(self) -> None:
        """Begin with nothing: the bar appears with its first task."""

    def stop(self) -> None:
        """Leave what the bar shows."""

    def add_task(self, description: str, total: float, left: str) -> TaskID:
        """Show an empty bar."""
        from IPython.display import HTML, display

        self._handle = display(HTML(_drawn(0.0, description, left)), display_id=True)
        return TaskID(0)

    def update(self, task: TaskID, completed: float, description: str, left: str) -> None:
        """Show how far things are; ``completed`` is a share of the whole."""
        from IPython.display import HTML

        self._handle.update(HTML(_drawn(completed, description, left)))


def _drawn(share: float, description: str, left: str) -> str:
    said = ", ".join(filter(None, (description, left)))
    return f'<progress value="{share:.4f}" max="1"></progress> {escape(said)}'
