"""OpenMM's engines: the contract, through a real Context."""

import numpy as np
import pytest
import torch

pytest.importorskip("openmm")
pytest.importorskip("openmmtorch")

from mlff_core.errors import InputError
from mlff_core.testing import EngineContract, small_student, structures
from mlff_plugins.openmm import OpenMMPythonForceEngine, OpenMMTorchForceEngine
from mlff_plugins.openmm.convert import reduced_box

ENGINES = [OpenMMPythonForceEngine(), OpenMMTorchForceEngine()]


def in_single_precision():
    """TorchScript compiles anew for every Context, so the default run looks at float32 only."""
    engine = OpenMMTorchForceEngine()
    engine.capabilities = engine.capabilities - {"float64"}
    return engine


class TestPythonForce(EngineContract):
    engine = OpenMMPythonForceEngine()


class TestTorchForce(EngineContract):
    engine = in_single_precision()


@pytest.mark.slow
class TestTorchForceInBothPrecisions(EngineContract):
    engine = OpenMMTorchForceEngine()


@pytest.mark.slow
class TestPythonForceOnTheCPUPlatform(EngineContract):
    engine = OpenMMPythonForceEngine()
    options = {"platform": "CPU"}  # noqa: RUF012


@pytest.mark.slow
class TestTorchForceOnTheCPUPlatform(EngineContract):
    engine = OpenMMTorchForceEngine()
    options = {"platform": "CPU"}  # noqa: RUF012


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("make", [structures.ethanol, structures.small_cell], ids=["molecule", "small cell"])
def test_float64_comes_through_the_cpu_platform(engine, make):
    student = small_student(dtype=torch.float64)
    batch = structures.to_batch(make())
    found = engine.evaluate(engine.bind(student, {"batch": batch, "platform": "CPU"}), batch)
    wanted = student.predict(batch)
    assert torch.allclose(found.energy, wanted.energy, rtol=1e-12, atol=1e-9)
    assert torch.allclose(found.forces, wanted.forces, rtol=0, atol=1e-8 * float(wanted.forces.abs().max()))


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("options", [{"platform": "Abacus"}, {"no_such_option": 1}])
def test_a_wrong_option_is_our_error(engine, options):
    with pytest.raises(InputError, match=r"Abacus|no_such_option"):
        engine.bind(small_student(), options)


@pytest.mark.parametrize("seed", range(20))
def test_the_reduced_box_is_the_same_lattice_in_openmms_form(seed):
    random = np.random.RandomState(seed)
    cell = random.normal(size=(3, 3)) * 5
    box, rotation = reduced_box(cell)
    assert np.linalg.det(rotation) == pytest.approx(1)
    steps = box @ np.linalg.inv(cell @ rotation)
    assert np.allclose(steps, np.round(steps), atol=1e-8)
    assert abs(np.linalg.det(np.round(steps))) == pytest.approx(1)
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = box
    assert ay == az == bz == 0
    assert min(ax, by, cz) > 0
    assert max(2 * abs(bx) - ax, 2 * abs(cx) - ax, 2 * abs(cy) - by) < 1e-9
