"""Pages in a browser: they open from disk, can be used, and run nothing that is not theirs."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_report import change_result, job  # noqa: F401 - a fixture

from vitreous.report.html import write_report
from vitreous.runs.project import init_project

sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium"),
]

HOSTILE = "\"'><script>window.hacked = 1</script><img src=x onerror=window.hacked=2>\n\x1b[31m&"


SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium


def launched(chromium: Any, *options: str) -> Iterator[Any]:
    path = shutil.which("chromium")
    found = chromium.launch(executable_path=path, args=["--no-sandbox", *options])
    yield found
    found.close()


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    """A browser that draws surfaces, on the processor."""
    yield from launched(chromium, *SOFTWARE)


@pytest.fixture(scope="module")
def flat(chromium: Any) -> Iterator[Any]:
    """A browser without WebGL, where still pictures stay."""
    yield from launched(chromium, "--disable-3d-apis")


class Opened:
    """A page, with all that its browser complained of or asked the network for."""

    def __init__(self, browser: Any, address: str, width: int = 1280):
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 500})
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "GPU stall" not in message.text:
            self.complaints.append(message.text)

    def pixels(self, selector: str) -> list[str]:
        """What canvases show, once they have come to rest."""
        self.page.wait_for_timeout(1500)
        return self.page.eval_on_selector_all(selector, "all => all.map(one => one.toDataURL())")


def opened(browser: Any, job: Path, width: int = 1280) -> Opened:  # noqa: F811
    return Opened(browser, write_report(job).as_uri(), width)


@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_opens_from_disk_and_fits(flat: Any, job: Path, width: int) -> None:  # noqa: F811
    found = opened(flat, job, width)
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    assert found.page.locator(".viewer .stage img").count() == 2
    assert not [one for one in found.complaints if "WebGL" not in one]
    assert all(url.startswith(("file:", "data:")) for url in found.asked)
    assert sum(url.startswith("file:") for url in found.asked) == 1


def test_what_is_done_to_one_map_is_done_to_both(browser: Any, job: Path) -> None:  # noqa: F811
    found = opened(browser, job)
    page, surfaces = found.page, ".viewer .stage canvas"
    assert page.locator(surfaces).count() == 2
    before = found.pixels(surfaces)
    page.locator(surfaces).first.focus()
    page.keyboard.press("ArrowLeft")
    linked = found.pixels(surfaces)
    assert all(one != other for one, other in zip(before, linked, strict=True))
    page.locator(".link-views input").uncheck()
    page.locator(surfaces).first.focus()
    page.keyboard.press("ArrowLeft")
    alone = found.pixels(surfaces)
    assert alone[0] != linked[0] and alone[1] == linked[1]

    sections = found.pixels(".slices canvas")
    page.locator(".link-views input").check()
    slider = page.locator(".slices input").first
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    moved = [a != b for a, b in zip(sections, found.pixels(".slices canvas"), strict=True)]
    assert moved == [True, False, False, True, False, False]
    assert not found.complaints


def test_the_contour_the_picture_and_the_command(browser: Any, job: Path) -> None:  # noqa: F811
    found = opened(browser, job)
    page = found.page
    told, slider = page.locator(".controls output").first, page.locator(".contour").first
    before = told.text_content()
    slider.focus()
    page.keyboard.press("PageUp")
    assert told.text_content() != before and "kDa" in told.text_content()
    with page.expect_download() as download:
        page.locator(".save").first.click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    page.locator(".copy").last.click()
    status = page.locator(".command [role=status]").last
    sync_api.expect(status).not_to_be_empty()
    assert not found.complaints


def test_hostile_names_run_no_script(flat: Any, job: Path) -> None:  # noqa: F811
    change_result(
        job,
        options={"particles": HOSTILE, HOSTILE: HOSTILE},
        input={"particles": HOSTILE, "n_particles": 1, "optics_groups": [{HOSTILE: HOSTILE}]},
        warnings=[HOSTILE],
        verdict=HOSTILE,
    )
    (job / "<img src=x onerror=window.hacked=3>.mrc").write_text("")
    found = opened(flat, job)
    assert found.page.evaluate("window.hacked") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_bars_the_way(flat: Any, job: Path, scheme: str) -> None:  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = opened(flat, job)
    found.page.emulate_media(color_scheme=scheme)
    results = axe.Axe().run(found.page).response
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"]])
        for one in results["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """An empty project, served: its folder and address."""
    uvicorn = pytest.importorskip("uvicorn")
    from vitreous.web.application import application

    project = init_project(tmp_path_factory.mktemp("project"), None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application(project, "key"), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        yield project.root, f"http://127.0.0.1:{taken.getsockname()[1]}/key/"
        server.should_exit = True
        thread.join()


def iteration_shown(facts: Any) -> int:
    """How many of 90 iterations are done, as the page of a job at work says."""
    sync_api.expect(facts).to_contain_text(re.compile(r"\d+/90"), timeout=60_000)
    found = re.search(r"(\d+)/90", facts.inner_text())
    assert found is not None
    return int(found[1])


def test_a_running_abinit_moves_and_becomes_its_report(
    flat: Any, server: tuple[Path, str], small_stack: Path
) -> None:
    root, address = server
    out = root / "001_abinit"
    command = [
        *(sys.executable, "-m", "vitreous", "abinit", str(small_stack), "--out", str(out)),
        *("--starts", "1", "--mask-diameter", "200", "--final-resolution", "25"),
        *("--angular-sampling", "30", "--polish-passes", "1"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while not (out / "log.jsonl").exists() and running.poll() is None:
            time.sleep(0.1)
        found = Opened(flat, f"{address}001_abinit/")
        title, facts = found.page.locator("h1"), found.page.locator(".tiles")
        sync_api.expect(title).to_have_text("At work")
        first = iteration_shown(facts)
        sync_api.expect(facts).not_to_contain_text(f"{first}/90", timeout=30_000)
        assert iteration_shown(facts) > first
        assert running.wait() == 0
    sync_api.expect(title).to_contain_text("One 3D map", timeout=20_000)
    assert not found.complaints
