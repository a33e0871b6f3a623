"""``vitreous serve`` under steady requests: answers, and the server's processor time for each.

Run: python benchmarks/serve.py PROJECT [--rate 200] [--seconds 60]
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

RESULTS = Path(__file__).parent / "results" / "serve.csv"
COLUMNS = (
    *("requests", "seconds", "unexpected", "server_cpu_ms_each"),
    *("median_wait_ms", "wait_of_99_percent_ms", "nothing_written"),
)
CONNECTIONS = 20


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def processor_seconds(pid: int) -> float:
    """That a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Connection:
    """A connection that is kept alive: a client that costs less than the server it measures."""

    def __init__(self, host: str, port: int):
        self._host, self._port = host, port

    async def get(self, path: str) -> int:
        """Status of the answer to a request, once all of it was read."""
        if not hasattr(self, "_reader"):
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await self._reader.readline(), 16):
                await self._reader.readexactly(size + 2)
            await self._reader.readline()
        else:
            await self._reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection") == "close":
            self._writer.close()
            del self._reader
        return int(head[0].split()[1])


async def ask(
    address: str, job: str, rate: float, seconds: float
) -> tuple[Counter[tuple[str, int]], list[float]]:
    """Send requests at a steady rate; how many got which answer, and how long each took."""
    parts = urlsplit(address)
    root = parts.path.rstrip("/")
    paths = {
        "project": f"{root}/",
        "job": f"{root}/{job}/",
        "file": f"{root}/{job}/result.json",
        "outside": f"{root}/{job}/%2e%2e/%2e%2e/passwd",
        "wrong token": "/wrong/",
    }
    seen: Counter[tuple[str, int]] = Counter()
    waits: list[float] = []
    due: asyncio.Queue[tuple[str, float] | None] = asyncio.Queue()

    async def work() -> None:
        connection = Connection(str(parts.hostname), int(parts.port or 0))
        while (task := await due.get()) is not None:
            status = await connection.get(paths[task[0]])
            seen[task[0], status] += 1
            waits.append(time.monotonic() - task[1])

    workers = [asyncio.create_task(work()) for _ in range(CONNECTIONS)]
    began, names = time.monotonic(), list(paths)
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        due.put_nowait((names[number % len(names)], began + number / rate))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    return seen, waits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    before = contents(given.project)
    words = [sys.executable, "-m", "vitreous", "serve", str(given.project), "--port", "0"]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    address = server.stdout.readline().split()[-1]
    job = sorted(p.name for p in given.project.iterdir() if p.name[:1].isdigit())[-1]
    time.sleep(1)
    used, began = processor_seconds(server.pid), time.monotonic()
    seen, waits = asyncio.run(ask(address, job, given.rate, given.seconds))
    asked, wait = len(waits), sorted(waits)
    took, used = time.monotonic() - began, processor_seconds(server.pid) - used
    server.send_signal(signal.SIGINT)
    server.wait()
    same = contents(given.project) == before
    right = {"project": 200, "job": 200, "file": 200, "outside": 404, "wrong token": 403}
    errors = sum(count for (name, status), count in seen.items() if right[name] != status)
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        rows = csv.writer(file)
        if new:
            rows.writerow(COLUMNS)
        median, most = (1000 * wait[place] for place in (asked // 2, asked * 99 // 100))
        row = (
            *(asked, f"{took:.1f}", errors, f"{1000 * used / asked:.2f}"),
            *(f"{median:.0f}", f"{most:.0f}", same),
        )
        rows.writerow(row)
    print(row, dict(seen))


if __name__ == "__main__":
    main()
