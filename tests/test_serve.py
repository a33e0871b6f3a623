"""vitreous serve: only with the token, only within the project, and nothing is touched."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitreous.runs.log import EventLog
from vitreous.runs.project import init_project

testclient = pytest.importorskip("starlette.testclient")
pytest.importorskip("httpx")

from vitreous.web import actions  # noqa: E402
from vitreous.web.application import application  # noqa: E402

TOKEN = "key-of-the-test"

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    project = init_project(tmp_path / "project", "p").root
    job = project / "001_abinit"
    job.mkdir()
    record = {"job": "abinit", "status": "interrupted", "version": "1", "options": {"seed": 1}}
    (job / "result.json").write_text(json.dumps(record))
    (job / "evil.html").write_text("<script>alert(1)</script>")
    (job / "way out").symlink_to(tmp_path / "secret.txt")
    with EventLog(job / "log.jsonl") as log:
        log("process", pid=1, host="elsewhere")
    return project


def client(root: Path, *, allow_jobs: bool = False) -> testclient.TestClient:
    from vitreous.runs.project import the_project

    app = application(the_project(root), TOKEN, allow_jobs=allow_jobs)
    return testclient.TestClient(app, base_url="http://127.0.0.1:8642", follow_redirects=False)


def contents(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", "/wrong/001_abinit/", "/wrong/001_abinit/result.json", "/project.html"]
)
def test_without_the_token_all_is_refused(root: Path, path: str) -> None:
    assert client(root).get(path).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        *("002_none/", "notes/", ".vitreous/", ".vitreous/project.json", "001_abinit/none.mrc"),
        *("001_abinit/%2e%2e/%2e%2e/secret.txt", "001_abinit/..%2f..%2fsecret.txt"),
        *("001_abinit/way%20out", "001_abinit/%00", "001_abinit//etc/passwd", "..%2fsecret.txt"),
    ],
)
def test_outside_of_the_jobs_nothing_is_found(root: Path, path: str) -> None:
    answer = client(root).get(f"/{TOKEN}/{path}")
    assert answer.status_code == 404 and "secret" not in answer.text


def test_pages_and_files_of_the_project(root: Path) -> None:
    here = client(root)
    listed, job = here.get(f"/{TOKEN}/"), here.get(f"/{TOKEN}/001_abinit/")
    assert "001_abinit" in listed.text and "Interrupted" in job.text
    for answer in (listed, job):
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src &#39;none&#39;" in answer.text and "<form" not in answer.text
    held = here.get(f"/{TOKEN}/001_abinit/result.json")
    assert held.json()["job"] == "abinit"


def test_what_a_job_holds_is_saved_and_not_run(root: Path) -> None:
    answer = client(root).get(f"/{TOKEN}/001_abinit/evil.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_another_name_for_this_machine_is_refused(root: Path) -> None:
    answer = client(root).get(f"/{TOKEN}/", headers={"host": "rebound.example"})
    assert answer.status_code == 400


def test_reading_writes_nothing(root: Path) -> None:
    before, here = contents(root), client(root)
    for path in ("", "001_abinit/", "001_abinit/result.json", "001_abinit/none"):
        here.get(f"/{TOKEN}/{path}")
    assert contents(root) == before


@pytest.mark.parametrize("action", ["stop", "resume"])
def test_jobs_are_touched_only_where_that_is_allowed(root: Path, action: str) -> None:
    address = f"/{TOKEN}/001_abinit/{action}"
    assert client(root).post(address).status_code == 403
    assert client(root).get(address).status_code in (404, 405)
    # Allowed, but there is neither a process nor a checkpoint.
    assert client(root, allow_jobs=True).post(address).status_code == 409
    assert client(root, allow_jobs=True).post(f"/{TOKEN}/001_abinit/delete").status_code == 404


def test_a_job_is_asked_to_end(root: Path) -> None:
    sleeper = "import time; time.sleep(60)  # vitreous"
    process = subprocess.Popen([sys.executable, "-c", sleeper])
    job = root / "002_refine"
    job.mkdir()
    (root / ".002_refine.lock").touch()
    with EventLog(job / "log.jsonl") as log:
        log("process", pid=process.pid, host=socket.gethostname(), job="refine", options={})
    here = client(root, allow_jobs=True)
    assert "Stop this job" in here.get(f"/{TOKEN}/002_refine/").text
    assert here.post(f"/{TOKEN}/002_refine/stop").status_code == 303
    assert process.wait(timeout=10) == -signal.SIGTERM


def test_a_process_that_is_none_of_ours_is_left_alone(root: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        job = root / "002_refine"
        job.mkdir()
        (root / ".002_refine.lock").touch()
        with EventLog(job / "log.jsonl") as log:
            log("process", pid=process.pid, host=socket.gethostname(), job="refine")
        answer = client(root, allow_jobs=True).post(f"/{TOKEN}/002_refine/stop")
        assert answer.status_code == 409 and process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_job_goes_on_with_its_own_options(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[tuple[list[str], str]] = []
    monkeypatch.setattr(
        actions.subprocess, "Popen", lambda words, cwd, **_: began.append((words, cwd))
    )
    job = root / "001_abinit"
    (job / "checkpoint.safetensors").touch()
    record = json.loads((job / "result.json").read_text())
    record |= {"directory": str(root), "options": {"particles": "p.star", "out": "001_abinit"}}
    (job / "result.json").write_text(json.dumps(record))
    here = client(root, allow_jobs=True)
    assert "Go on with this job" in here.get(f"/{TOKEN}/001_abinit/").text
    assert here.post(f"/{TOKEN}/001_abinit/resume").status_code == 303
    words = ["-m", "vitreous", "abinit", "p.star", "--out", "001_abinit", "--resume"]
    assert began == [([sys.executable, *words], str(root))]


@pytest.mark.slow
def test_the_command_listens_at_this_machine_only_and_ends_by_ctrl_c(root: Path) -> None:
    httpx = pytest.importorskip("httpx")
    words = [sys.executable, "-m", "vitreous", "serve", str(root), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    assert address.startswith("http://127.0.0.1:")
    for _ in range(100):
        try:
            assert httpx.get(address).status_code == 200
            break
        except httpx.ConnectError:
            time.sleep(0.1)
    assert httpx.get(address.rsplit("/", 2)[0] + "/wrong/").status_code == 403
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 0
