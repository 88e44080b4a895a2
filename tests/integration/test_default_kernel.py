"""In engines that call Python, the fused kernel computes every step by default."""

import pytest

from mlff_core import load
from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.painn import PaiNN
from mlff_core.plugins.host import host
from mlff_core.plugins.through_engine import ThroughEngine
from mlff_core.testing import structures

ENGINES = ["ase", "ipi-direct", "ipi-socket", "lammps", "openmm-pythonforce", "qcengine", "torchsim"]


def test_every_engine_that_takes_any_potential_is_looked_at():
    assert sorted(engine.name for engine in host().providers("engine") if not engine.students_only) == ENGINES


@pytest.mark.filterwarnings("ignore:`vesin.torch`:DeprecationWarning")  # torch-sim imports it by that name
@pytest.mark.parametrize("name", ENGINES)
def test_the_fused_kernel_computes_every_step(name, monkeypatch):
    engine = host().get("engine", name)
    if engine.missing():
        pytest.skip("; ".join(engine.missing()))
    monkeypatch.delenv("MLFF_KERNEL", raising=False)
    evaluated = []

    def counted(kernel, evaluate):
        def wrapper(self, *args, **kwargs):
            evaluated.append(kernel)
            return evaluate(self, *args, **kwargs)

        return wrapper

    def never(*args, **kwargs):
        raise AssertionError("the network itself was run")

    monkeypatch.setattr(CPUKernel, "evaluate", counted("cpu", CPUKernel.evaluate))
    monkeypatch.setattr(ReferenceKernel, "evaluate", counted("reference", ReferenceKernel.evaluate))
    monkeypatch.setattr(PaiNN, "forward", never)
    potential = load("organic-ultra-tiny")
    if potential.device.type != "cpu":
        pytest.skip("this machine has a GPU, and another kernel")
    assert potential.kernel.name == "cpu"
    start = structures.ethanol()
    with ThroughEngine(engine, potential, {}) as bound:
        for step in range(3):
            moved = start.copy()
            moved.rattle(0.01 * step, seed=step)
            before = len(evaluated)
            bound.predict(structures.to_batch(moved))
            assert len(evaluated) > before
    assert set(evaluated) == {"cpu"}
