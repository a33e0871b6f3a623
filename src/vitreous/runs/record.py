"""``result.json``: what every job says of itself, and how it is written."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vitreous import __version__
from vitreous.io.atomic import write_text
from vitreous.io.plain import plain

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def job_record(job: str, config: DataclassInstance) -> dict[str, Any]:
    """Name of the job, the versions that ran it, and its options as seen from a directory."""
    return {
        "job": job,
        "status": "finished",
        "version": __version__,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "directory": str(Path.cwd()),
        "options": asdict(config),
    }


def write_record(out: Path, record: Mapping[str, Any]) -> None:
    """Write ``result.json`` into a job's folder."""
    write_text(out / "result.json", json.dumps(plain(record), indent=2) + "\n")
