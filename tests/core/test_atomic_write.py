"""Files that are whole or absent, and outputs that one process writes at a time."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from mlff_core.atomic_write import one_writer, part_beside, write_atomically
from mlff_core.errors import InputError

FORK = multiprocessing.get_context("fork")


def hold(path, ready):
    with one_writer(path), part_beside(path.with_name("half.h5")) as part:
        part.write_bytes(b"half")
        ready.set()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of ``out.h5`` and has begun to write ``half.h5``."""
    ready = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path / "out.h5", ready))
    process.start()
    assert ready.wait(20)
    yield process
    if process.is_alive():
        process.kill()
    process.join()


def test_a_second_writer_is_refused_and_the_error_names_the_first(tmp_path, holder):
    wanted = rf"out.h5 is being written by process {holder.pid} on .*; wait until that has ended, or give another place"
    with pytest.raises(InputError, match=wanted), one_writer(tmp_path / "out.h5"):
        pass
    with one_writer(tmp_path / "other.h5"):  # another output has no writer
        pass


def test_a_killed_writer_blocks_no_other_and_its_incomplete_file_is_removed(tmp_path, holder):
    write_atomically(tmp_path / "half.h5", b"whole")  # the other is alive: its part stays
    assert len(list(tmp_path.glob(".*.part.half.h5"))) == 1
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with one_writer(tmp_path / "out.h5"):
        pass
    write_atomically(tmp_path / "half.h5", b"again")
    assert [path.name for path in tmp_path.iterdir()] == ["half.h5"]
    assert (tmp_path / "half.h5").read_bytes() == b"again"


def test_writers_that_wait_come_one_after_the_other(tmp_path):
    count = tmp_path / "count"
    count.write_text("0")

    def add():
        for _ in range(20):
            with one_writer(count, wait=True):
                value = int(count.read_text())
                time.sleep(0.0005)
                write_atomically(count, str(value + 1).encode())

    processes = [FORK.Process(target=add) for _ in range(3)]
    threads = [threading.Thread(target=add)]
    for worker in (*processes, *threads):
        worker.start()
    for worker in (*processes, *threads):
        worker.join()
    assert count.read_text() == "80"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_an_error_leaves_the_older_file_and_no_part(tmp_path):
    write_atomically(tmp_path / "a.txt", b"old")

    def fail():
        with part_beside(tmp_path / "a.txt") as part:
            part.write_bytes(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def test_a_name_that_is_too_long_is_one_of_our_errors(tmp_path):
    for write in (lambda path: write_atomically(path, b""), lambda path: one_writer(path).__enter__()):
        with pytest.raises(InputError, match="cannot be written: File name too long"):
            write(tmp_path / ("a" * 250))
