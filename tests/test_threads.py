"""Work spread over cores: all of it is done, in order, and workers share the cores out."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from vitreous.ops.host_memory import keep_freed_blocks
from vitreous.ops.threads import cores, in_order, interleaved, limited_to, side_by_side


def walk(number: int, steps: int) -> Iterator[tuple[int, int, int]]:
    for step in range(steps):
        yield number, step, cores()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_interleaved_walks_go_through_all_their_steps_in_order(workers: int) -> None:
    lengths = [4, 0, 7, 1]
    with limited_to(4):
        found = list(interleaved([walk(n, length) for n, length in enumerate(lengths)], workers))
    assert all(number == step[0] for number, step in found)
    for number, length in enumerate(lengths):
        assert [s for n, (_, s, _) in found if n == number] == list(range(length))
    assert {own for _, (_, _, own) in found} == {4 // workers}


def test_walks_go_on_side_by_side() -> None:
    both = threading.Barrier(2)

    def meeting() -> Iterator[int]:
        yield both.wait(timeout=60)  # breaks, unless the other walk is under way too

    assert sorted(step for _, step in interleaved([meeting(), meeting()], 2)) == [0, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_walk_reaches_the_caller(workers: int) -> None:
    def failing() -> Iterator[int]:
        yield 0
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(interleaved([failing(), failing()], workers))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_are_ahead_of_the_caller_by_no_more_than_one_thing(workers: int) -> None:
    begun: list[int] = []

    def squared(number: int) -> int:
        begun.append(number)
        return number * number

    for taken, found in enumerate(in_order(squared, range(20), workers)):
        assert found == taken * taken
        time.sleep(0.002)  # for workers that would go on
        assert len(begun) <= taken + 1 + (workers if workers > 1 else 0)
    assert sorted(begun) == list(range(20))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_worker_reaches_the_caller_in_its_turn(workers: int) -> None:
    found: list[float] = []
    with pytest.raises(ZeroDivisionError):
        found.extend(in_order(lambda n: 1 / (2 - n), range(4), workers))
    assert found == [0.5, 1.0]


def test_a_worker_within_a_worker_has_its_share_of_the_cores() -> None:
    with limited_to(4):
        outer = side_by_side(lambda _: side_by_side(lambda _: cores(), 2), 2)
        assert outer == [[1, 1], [1, 1]]
        assert list(in_order(lambda _: cores(), range(5), 2)) == [2] * 5
        assert cores() == 4


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc's allocator")
def test_memory_that_is_freed_serves_again() -> None:
    """Of blocks of 64 MB, one after the other, those are new that fill what is kept and no other.

    Eight fill it; aligned blocks leave remainders, so that it may take one or two more.
    """

    def new_pages(blocks: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(blocks):
            torch.ones(2**24)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_blocks()
    new_pages(16)
    assert new_pages(8) < 2**26 // resource.getpagesize()


_IN_A_THREAD = """
import resource, sys, threading
from vitreous.ops.host_memory import keep_freed_blocks, share_one_heap
if sys.argv[1] == "shared":
    share_one_heap()
import torch

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    keep_freed_blocks()
    for _ in range(2):
        before = faults()
        for _ in range(8):
            torch.ones(2**25)
    print((faults() - before) * resource.getpagesize() / 2**27)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc's allocator")
def test_memory_that_a_thread_frees_serves_again_where_threads_share_one_heap() -> None:
    """Of eight blocks of 128 MB, after as many, most; in a heap of its own all are new."""

    def new_blocks(heap: str) -> float:
        command = [sys.executable, "-c", _IN_A_THREAD, heap]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert new_blocks("own") > 7
    assert new_blocks("shared") < 4
