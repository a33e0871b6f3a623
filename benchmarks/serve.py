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

import httpx

RESULTS = Path(__file__).parent / "results" / "serve.csv"


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


async def ask(address: str, job: str, rate: float, seconds: float) -> tuple[Counter, int]:
    """Send requests at a steady rate; how many got which answer."""
    wrong = address.rstrip("/").rpartition("/")[0] + "/wrong/"
    addresses = {
        "project": address,
        "job": f"{address}{job}/",
        "file": f"{address}{job}/result.json",
        "outside": f"{address}{job}/%2e%2e/%2e%2e/passwd",
        "wrong token": wrong,
    }
    seen: Counter = Counter()
    limits = httpx.Limits(max_connections=60)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def one(name: str) -> None:
            answer = await client.get(addresses[name])
            seen[name, answer.status_code] += 1

        began, tasks, names = time.monotonic(), [], list(addresses)
        while time.monotonic() - began < seconds:
            tasks.append(asyncio.create_task(one(names[len(tasks) % len(names)])))
            await asyncio.sleep(max(0.0, began + len(tasks) / rate - time.monotonic()))
        await asyncio.gather(*tasks)
    return seen, len(tasks)


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
    seen, asked = asyncio.run(ask(address, job, given.rate, given.seconds))
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
            names = ("requests", "seconds", "unexpected", "server_cpu_ms_each", "nothing_written")
            rows.writerow(names)
        row = (asked, f"{took:.0f}", errors, f"{1000 * used / asked:.2f}", same)
        rows.writerow(row)
    print(row, dict(seen))


if __name__ == "__main__":
    main()
