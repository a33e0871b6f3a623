"""A job's verdict on its own map: a word, why, and what to do next."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Word = Literal["solved", "ambiguous", "failed"]


@dataclass(frozen=True)
class NextStep:
    """What to do where a map is not to be believed yet.

    Attributes
    ----------
    sentence : str
        What to do and why: one or two whole sentences.
    command : str or None
        The whole line for the shell, the user's own paths in it; None where no command helps.
    changes : dict
        Options of the job that the command runs again; empty where it is another job's.
    """

    sentence: str
    command: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Whether to believe a map.

    Attributes
    ----------
    word : str
        solved, ambiguous or failed.
    sentence : str
        Why: one or two whole sentences.
    next_step : NextStep or None
        Given wherever the word is not solved.
    """

    word: Word
    sentence: str
    next_step: NextStep | None = None

    def record(self) -> dict[str, Any]:
        """For result.json: ``verdict``, ``sentence`` and ``next_step``."""
        step = self.next_step and asdict(self.next_step)
        return {"verdict": self.word, "sentence": self.sentence, "next_step": step}
