"""The page of every job, as the job wrote it, in a browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from job_samples import ATTACK, JOBS, run_every_job, run_on_hostile_names
from test_pages import Opened, chromium, flat  # noqa: F401 - fixtures

from vitreous.report.html import PAGES, SEARCHES

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return run_every_job(tmp_path_factory.mktemp("jobs"))


def test_every_page_is_among_these() -> None:
    assert set(JOBS) == {*SEARCHES, *PAGES}


def serious(page: Any) -> list[tuple[str, list[str]]]:
    """What axe holds against a page."""
    found = axe.Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("name", JOBS)
def test_a_page_opens_fits_and_bars_nobody(
    flat: Any,  # noqa: F811
    jobs: dict[str, Path],
    name: str,
) -> None:
    address = (jobs[name] / "report.html").as_uri()
    found = Opened(flat, address, width=400)
    for width in (400, 1280):
        found.page.set_viewport_size({"width": width, "height": 800})
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert not serious(found.page)
    assert not [one for one in found.complaints if "WebGL" not in one]
    assert [url for url in found.asked if not url.startswith("data:")] == [address]
    found.page.close()


def test_hostile_names_in_a_star_file_run_no_script(
    flat: Any,  # noqa: F811
    jobs: dict[str, Path],
) -> None:
    folder = run_on_hostile_names(jobs["reconstruct"].parent)
    found = Opened(flat, (folder / "report.html").as_uri())
    assert found.page.evaluate("window.hacked") is None
    words = found.page.locator("body").text_content().replace("\x1b", "")
    assert Path(ATTACK).name.replace("\x1b", "") in words  # the name of a micrograph
    assert not [one for one in found.complaints if "WebGL" not in one]
