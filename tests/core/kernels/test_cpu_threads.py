"""The CPU kernel with several threads, and within several."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest
import torch

from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.model.presets import PRESETS
from mlff_core.structures.batch import concatenate
from mlff_core.structures.neighbors import find_neighbors

ALL = ("energy", "forces", "stress", "atom_energies")


@pytest.fixture
def large(make_structure):
    """Enough atoms that several threads take part."""
    batch = concatenate([make_structure(70, seed) for seed in range(6)]).to(dtype=torch.float32)
    return batch, find_neighbors(batch, 5.0)


@pytest.fixture
def threads():
    """Sets the number of torch's threads, and sets it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def same(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("energy", "forces", "atom_energies"))


def in_threads(n, work):
    """Call work(k) for k below n, each in a thread of its own, and wait for all."""
    workers = [threading.Thread(target=work, args=(which,)) for which in range(n)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def test_a_repeated_call_is_the_same_bit_for_bit(make_model, large):
    kernel = CPUKernel(make_model(PRESETS["original"], torch.float32))
    first = kernel.evaluate(*large, ALL)
    assert all(same(kernel.evaluate(*large, ALL), first) for _ in range(3))


def test_the_number_of_threads_changes_no_bit(make_model, large, threads):
    kernel = CPUKernel(make_model(PRESETS["original"], torch.float32))
    results = []
    for n in (1, 2, 3, 7):
        threads(n)
        results.append(kernel.evaluate(*large, ALL))
    assert all(same(result, results[0]) for result in results[1:])


def test_one_kernel_serves_several_threads_at_once(make_model, large, make_structure, threads):
    threads(2)
    kernel = CPUKernel(make_model(PRESETS["ultra-tiny"], torch.float32))
    small = make_structure(19).to(dtype=torch.float32)
    calls = [large, (small, find_neighbors(small, 5.0))]
    expected = [kernel.evaluate(*call, ALL) for call in calls]
    wrong = []

    def work(which):
        for k in range(12):
            n = (which + k) % 2
            if not same(kernel.evaluate(*calls[n], ALL), expected[n]):
                wrong.append((which, k))

    in_threads(4, work)
    assert wrong == []


def test_three_models_in_six_threads_are_each_as_alone(make_model, large, make_structure, threads):
    threads(2)
    small = make_structure(19).to(dtype=torch.float32)
    calls = [large, (small, find_neighbors(small, 5.0))]
    kernels = [CPUKernel(make_model(PRESETS[name], torch.float32)) for name in ("original", "tiny", "ultra-tiny")]
    expected = [[kernel.evaluate(*call, ALL) for call in calls] for kernel in kernels]
    start = threading.Barrier(6)
    wrong, done = [], []

    def work(which):
        start.wait()
        for k in range(6):
            # Two threads at each model, one at the small structure while the other is at the large one.
            model, n = which % 3, (which // 3 + k) % 2
            if not same(kernels[model].evaluate(*calls[n], ALL), expected[model][n]):
                wrong.append((which, k))
        done.append(which)

    in_threads(6, work)
    assert wrong == []
    assert sorted(done) == list(range(6))


def multiplications(config, n_atoms, n_edges):
    """Return the work of an evaluation as docs/kernels.md counts it against 45 million for each thread."""
    return config.n_layers * config.hidden * (30 * config.hidden * n_atoms + 66 * n_edges)


def n_threads():
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list a process's threads")
def test_a_second_thread_is_woken_from_45_million_multiplications_on(make_model, make_structure, threads):
    threads(4)
    config = PRESETS["original"]
    model = make_model(config, torch.float32)
    counts = {}
    for n_atoms in range(4, 100, 8):
        batch = make_structure(n_atoms).to(dtype=torch.float32)
        edges = find_neighbors(batch, 5.0)
        kernel = CPUKernel(model)  # its threads are its own, and live as long as it does
        before = n_threads()
        kernel.evaluate(batch, edges, ALL)
        share = multiplications(config, n_atoms, edges.n_edges) / 45e6
        counts[n_atoms] = (n_threads() - before, min(int(share), 3))
        del kernel
    assert all(woken == wanted for woken, wanted in counts.values()), counts
    # Both sides of the threshold were seen, and the limit torch sets.
    assert {wanted for _, wanted in counts.values()} == {0, 1, 2, 3}


def test_idle_threads_use_no_time(make_model, large, threads):
    threads(3)
    kernel = CPUKernel(make_model(PRESETS["original"], torch.float32))
    kernel.evaluate(*large, ALL)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


def _in_child(kernel, call, queue):
    torch.set_num_threads(2)
    queue.put(kernel.evaluate(*call, ("forces",)).forces.sum(dim=0).tolist())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own(make_model, large, threads):
    threads(2)
    kernel = CPUKernel(make_model(PRESETS["original"], torch.float32))
    expected = kernel.evaluate(*large, ALL).forces.sum(dim=0).tolist()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(kernel, large, queue))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == expected
    assert kernel.evaluate(*large, ALL).forces.sum(dim=0).tolist() == expected
