"""Running batches in this process, in several, or on a Dask cluster, with the same results."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from mlff_core.data.shards import BatchRecord, BatchResult, commit, kept
from mlff_core.errors import InputError, MissingDependencyError, MlffError
from mlff_core.potentials.interface import Potential

TeacherFactory = Callable[[], Potential]

MAX_DEATHS = 3
"""Worker deaths before the run gives up: a batch that kills its worker would do so for ever."""


_DEATHS = (
    "workers died {n} times, the last while {what}: usually memory runs out; use fewer processes or smaller batches "
    "and run again: the run continues from here"
)


class Task(Protocol):
    """Work that can be done in batches, in any order and in any process; picklable."""

    def __call__(self, k: int) -> BatchResult:
        """Return the result of batch k, the same in any order and in any process."""
        ...


def run_batches(
    task: Task, folder: Path, batches: Sequence[int], *, processes: int = 1, scheduler: str | None = None
) -> Iterator[tuple[int, BatchRecord]]:
    """Do the batches, keep each in ``folder`` when it is done, and yield its number and record.

    Parameters
    ----------
    task
        The work.
    folder
        Folder of the batches; every worker must have access to it.
    batches
        Numbers of the batches to do.
    processes
        Number of processes on this machine; 1 works in this process.
    scheduler
        Address of a Dask scheduler, such as ``"tcp://host:8786"``; its workers do the work instead.

    Raises
    ------
    MissingDependencyError
        Dask is not installed.
    InputError
        The task cannot be sent to another process, or the scheduler does not respond.
    MlffError
        Workers died again and again.
    """
    if processes < 1:
        raise InputError(f"processes must be at least 1, got {processes}")
    if scheduler is not None:
        yield from _in_dask(task, folder, batches, scheduler)
    elif processes == 1 or len(batches) < 2:
        for k in batches:
            yield k, work(task, folder, k)
    else:
        yield from _in_processes(task, folder, batches, min(processes, len(batches)))


def work(task: Task, folder: Path, k: int) -> BatchRecord:
    """Do one batch and save it; called in any process."""
    return commit(folder, k, task(k))


_POTENTIALS: dict[bytes, Potential] = {}


def teacher_here(factory: TeacherFactory | Potential | None) -> Potential | None:
    """Return the teacher in this process, loaded once."""
    if factory is None or isinstance(factory, Potential):
        return factory
    try:
        key = pickle.dumps(factory)
    except (pickle.PicklingError, AttributeError, TypeError):
        return factory()
    if key not in _POTENTIALS:
        _POTENTIALS[key] = factory()
    return _POTENTIALS[key]


def _in_processes(
    task: Task, folder: Path, batches: Sequence[int], processes: int
) -> Iterator[tuple[int, BatchRecord]]:
    _check_picklable(task)
    pending, deaths = list(batches), 0
    threads = max(1, (os.cpu_count() or 1) // processes)
    while pending:
        # Spawned, not forked: torch and CUDA do not survive a fork once they have been used.
        pool = ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(os.getpid(), threads),
        )
        try:
            for k, result in _completed(partial(_submit, pool, task, folder), pending, 2 * processes):
                yield k, result
                pending.remove(k)
        except BrokenProcessPool:
            deaths += 1
            # Batches saved just before the death are kept, so that nothing is done twice.
            if deaths >= MAX_DEATHS:
                raise MlffError(_DEATHS.format(n=deaths, what=f"{len(pending)} batches were left")) from None
            for k in list(pending):
                if (record := kept(folder, k)) is not None:
                    pending.remove(k)
                    yield k, record
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, task: Task, folder: Path, k: int) -> Future[BatchRecord]:
    return pool.submit(work, task, folder, k)


def _completed(
    submit: Callable[[int], Future[BatchRecord]], batches: Sequence[int], window: int
) -> Iterator[tuple[int, BatchRecord]]:
    """Yield results as they come, never more than ``window`` batches ahead, so that a stop is quick."""
    waiting = list(reversed(batches))
    running: dict[Future[BatchRecord], int] = {}
    while waiting or running:
        while waiting and len(running) < window:
            k = waiting.pop()
            running[submit(k)] = k
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future.result()


def _start_worker(parent: int, threads: int) -> None:
    """Prepare a worker process: its share of the cores, and its exit when its parent has ended."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    import torch

    torch.set_num_threads(threads)

    def watch() -> None:
        # A parent that was killed cannot stop its workers; without this they would wait for work for ever.
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_dask(task: Task, folder: Path, batches: Sequence[int], scheduler: str) -> Iterator[tuple[int, BatchRecord]]:
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError as error:
        raise MissingDependencyError(
            "a scheduler needs Dask: pip install 'mlff-hub[data]', or use --processes on this machine"
        ) from error
    _check_picklable(task)
    try:
        client = Client(scheduler, timeout=20)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"no Dask scheduler responds at {scheduler}: {error}; check the address") from error
    with client:
        futures = {
            client.submit(_work_in_dask, task, folder.resolve(), k, pure=False, retries=MAX_DEATHS): k for k in batches
        }
        try:
            for future in as_completed(list(futures)):
                yield futures[future], future.result()
        except KilledWorker as error:
            raise MlffError(_DEATHS.format(n=MAX_DEATHS, what="one batch was being done")) from error


def _work_in_dask(task: Task, folder: Path, k: int) -> BatchRecord:
    # Dask repeats a task whose worker died after saving its batch: that batch is done.
    return kept(folder, k) or work(task, folder, k)


def _check_picklable(task: Any) -> None:
    try:
        pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"the work cannot be pickled for other processes: {error}; give the teacher as a picklable factory "
            "(a function of a module, or functools.partial of one), or use one process"
        ) from error
