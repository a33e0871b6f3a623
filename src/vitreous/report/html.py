"""stub"""

from pathlib import Path


def write_report(job: Path) -> Path:
    """Stub."""
    return job
