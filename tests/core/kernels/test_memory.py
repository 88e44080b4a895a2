"""The memory that may be used is the machine's, or a container's if that has less."""

from __future__ import annotations

import os

import pytest

from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.kernels.memory import usable_memory
from mlff_core.model.painn import PaiNNConfig

GIB = 2**30
V2 = "0::{path}\n"
V1 = "3:cpuset:/\n4:memory:{path}\n1:name=systemd:/\n0::/\n"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 64 GiB; set its process's group and the groups' limits."""
    page = os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": page, "SC_PHYS_PAGES": 64 * GIB // page}[name])

    def write(cgroup=None, limits=()):
        if cgroup is not None:
            (tmp_path / "proc/self").mkdir(parents=True)
            (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for name, limit in dict(limits).items():
            file = tmp_path / "sys/fs/cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{limit}\n")
        return tmp_path

    return write


def test_without_control_groups_it_is_the_machines(machine):
    assert usable_memory(machine()) == 64 * GIB


def test_a_group_without_a_limit_takes_nothing_away(machine):
    root = machine(V2.format(path="/job"), {"job/memory.max": "max"})
    assert usable_memory(root) == 64 * GIB


def test_a_groups_own_limit_counts(machine):
    assert usable_memory(machine(V2.format(path="/job"), {"job/memory.max": 4 * GIB})) == 4 * GIB


def test_the_lowest_limit_of_the_groups_above_counts(machine):
    limits = {"slurm/memory.max": 8 * GIB, "slurm/job/memory.max": "max", "slurm/job/step/memory.max": 9 * GIB}
    assert usable_memory(machine(V2.format(path="/slurm/job/step"), limits)) == 8 * GIB


def test_the_limit_of_a_container_that_sees_its_own_group_as_the_root_counts(machine):
    assert usable_memory(machine(V2.format(path="/"), {"memory.max": 2 * GIB})) == 2 * GIB


def test_the_limit_of_a_container_that_sees_the_hosts_path_counts(machine):
    """Docker with the first version: the path is the host's, the files are the container's own."""
    root = machine(V1.format(path="/docker/0123abcd"), {"memory/memory.limit_in_bytes": 3 * GIB})
    assert usable_memory(root) == 3 * GIB


def test_no_limit_of_the_first_version_is_a_large_number(machine):
    root = machine(V1.format(path="/"), {"memory/memory.limit_in_bytes": 9223372036854771712})
    assert usable_memory(root) == 64 * GIB


def test_a_kernel_takes_half_of_it(make_model, monkeypatch):
    monkeypatch.setattr("mlff_core.kernels.cpu_kernel.usable_memory", lambda: 10 * GIB)
    assert CPUKernel(make_model(PaiNNConfig(hidden=8, n_radial=4))).memory_bytes == 5 * GIB
