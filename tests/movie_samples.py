"""Small movies of Gaussian blobs that move as told, and files of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np

PIXEL, SIGMA = 2.0, 1.6
Motion = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""Displacement along x and y of places (x, y from 0 to 1) at a time from 0 to 1."""


@dataclass(frozen=True)
class Sample:
    """A movie of counts, and where its content is."""

    frames: np.ndarray
    gain: np.ndarray
    motion: Motion


def drift(x: np.ndarray, y: np.ndarray, time: float) -> np.ndarray:
    """Motion of the whole."""
    return np.stack([4 * time + 0 * x, -3 * np.sin(2 * time) + 0 * y], -1)


def bending(x: np.ndarray, y: np.ndarray, time: float) -> np.ndarray:
    """The same, and local motion on top of it."""
    u, v = x - 0.5, y - 0.5
    apart = np.stack([6 * u + 8 * v * v, 6 * u * v - 4 * v], -1)
    return drift(x, y, time) + (1 - np.exp(-4 * time)) * apart


def sample(
    motion: Motion, shape: tuple[int, int] = (288, 256), frames: int = 12, seed: int = 0
) -> Sample:
    """Counts behind a camera of uneven gain."""
    rng = np.random.default_rng(seed)
    height, width = shape
    places = rng.uniform(-10, np.array([width, height]) + 10, (900, 2))
    weights = rng.uniform(0.5, 1.5, len(places))
    gain = (1 / rng.normal(1, 0.06, shape).clip(0.5, 1.5)).astype(np.float32)
    offsets = np.arange(-6, 7)
    found = np.empty((frames, height, width), np.uint16)
    for t in range(frames):
        moved = places + motion(places[:, 0] / width, places[:, 1] / height, (t + 0.5) / frames)
        image = np.zeros((height + 40, width + 40))
        for (x, y), weight in zip(moved, weights, strict=True):
            column, row = round(x), round(y)
            across = np.exp(-((column + offsets - x) ** 2) / (2 * SIGMA**2))
            along = np.exp(-((row + offsets - y) ** 2) / (2 * SIGMA**2))
            top, left = row + 14, column + 14
            if 0 <= top < height + 27 and 0 <= left < width + 27:
                image[top : top + 13, left : left + 13] += weight * along[:, None] * across
        rate = 4 * (1 + 0.5 * image[20:-20, 20:-20]) / gain
        found[t] = rng.poisson(rate)
    return Sample(found, gain, motion)


def errors(field: np.ndarray, motion: Motion, places: np.ndarray) -> float:
    """Root mean square distance in pixels from the truth, means over frames apart."""
    times = (np.arange(len(field)) + 0.5) / len(field)
    x, y = np.meshgrid(places, places)
    truth = np.stack([motion(x, y, time) for time in times])
    apart = (field - field.mean(0)) - (truth - truth.mean(0))
    return float(np.sqrt((apart**2).sum(-1).mean()))


def write_mrc(path: Path, frames: np.ndarray) -> Path:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(frames)
        file.voxel_size = PIXEL
    return path


def _codes(events: np.ndarray, places: np.ndarray, size: int) -> bytes:
    """Run lengths of 7 bits between events, each followed by 4 bits for its place in the pixel."""
    bits: list[str] = []

    def put(value: int, count: int) -> None:
        bits.append(format(value, f"0{count}b")[::-1])

    last = -1
    for event, place in zip([*events, size], [*places, 0], strict=True):
        run = int(event) - last - 1
        while run >= 127:
            put(127, 7)
            run -= 127
        put(run, 7)
        if event < size:
            put(int(place) ^ 0x0A, 4)
        last = int(event)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


def write_eer(path: Path, side: int, frames: list[tuple[np.ndarray, np.ndarray]]) -> Path:
    """A BigTIFF of compression 65001: events (flat pixels in order) and places y, x of 2 bits."""
    with path.open("wb") as file:
        file.write(b"II" + struct.pack("<HHHQ", 43, 8, 0, 0))
        pointer = 8
        for events, places in frames:
            data = _codes(events, places, side * side)
            start = file.tell()
            file.write(data + b"\0" * (len(data) % 2))
            tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 65001), (262, 3, 1)]
            tags += [(273, 16, start), (277, 3, 1), (278, 4, side), (279, 16, len(data))]
            here = file.tell()
            file.write(struct.pack("<Q", len(tags)))
            for tag, kind, value in tags:
                file.write(struct.pack("<HHQQ", tag, kind, 1, value))
            following = file.tell()
            file.write(struct.pack("<Q", 0))
            file.seek(pointer)
            file.write(struct.pack("<Q", here))
            file.seek(0, 2)
            pointer = following
    return path
