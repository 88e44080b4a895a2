"""The operators of fused files: the reference's numbers, their derivatives, and what they refuse."""

import gc
import io
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch

from mlff_core.export.writing import deprecation_silenced
from mlff_core.kernels.cpu_interface import ABI
from mlff_core.kernels.cpu_kernel import packed
from mlff_core.kernels.fused_modules import FusedStudent, fused_graph_of, model_bytes
from mlff_core.kernels.operator_library import library_path
from mlff_core.model.charges import ChargeReadout
from mlff_core.model.edge_graph import graph_of
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.testing import small_student, structures

MAKERS = {
    "molecule": structures.ethanol,
    "cell smaller than the cutoff": structures.small_cell,
    "triclinic": structures.triclinic_crystal,
}


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def student(request):
    return small_student(dtype=request.param, kernel="reference")


@pytest.fixture(scope="module")
def limit(student):
    return 1e-5 if student.dtype == torch.float32 else 1e-9


def graph_inputs(frames, dtype=torch.float32):
    batch = structures.to_batch(frames).to(dtype=dtype)
    edges = find_neighbors(batch, small_student().card.cutoff)
    return [batch.atomic_numbers, edge_vectors(batch, edges), edges.centers, edges.neighbors, batch.system_idx]


def evaluated(module, atoms, positions=None):
    """Return (energy, gradient) in float64 of a module with the interface of ScriptedStudent."""
    x = torch.tensor(atoms.positions if positions is None else positions, dtype=torch.float64).requires_grad_()
    cell = torch.tensor(np.asarray(atoms.cell), dtype=torch.float64)
    energy = module(torch.tensor(atoms.numbers), x, cell, bool(atoms.pbc.all()))
    (gradient,) = torch.autograd.grad(energy, x)
    return energy.detach(), gradient


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_energy_and_forces_are_those_of_the_reference(student, limit, make):
    module, atoms = FusedStudent(student.model, 1.0), make()
    random = np.random.RandomState(3)
    for size in (0.0, 0.02, 0.05, 1.0):  # the last one needs a new search
        moved = atoms.copy()
        moved.positions += random.uniform(-0.02, 0.02, atoms.positions.shape) + size * np.array([1.0, -2.0, 0.5])
        if atoms.pbc.all():
            moved.positions[::2] += moved.cell[0] - 2 * moved.cell[2]
        energy, gradient = evaluated(module, moved)
        wanted = student.predict(structures.to_batch(moved).to(dtype=student.dtype))
        scale = max(1.0, float(wanted.forces.abs().max()))
        assert float(energy) == pytest.approx(float(wanted.energy), rel=1e-6)
        assert float((gradient + wanted.forces).abs().max()) < 3 * limit * scale


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_forces_are_the_derivative_of_the_energy(make):
    module, atoms = FusedStudent(small_student(dtype=torch.float64, kernel="reference").model, 1.0), make()
    atoms.rattle(0.03, seed=1)
    _, gradient = evaluated(module, atoms)
    for i, c in ((0, 0), (1, 2)):
        step = np.zeros_like(atoms.positions)
        step[i, c] = 1e-4
        up, down = (float(evaluated(module, atoms, atoms.positions + sign * step)[0]) for sign in (1, -1))
        assert (up - down) / 2e-4 == pytest.approx(float(gradient[i, c]), abs=2e-6, rel=1e-5)


def test_a_graph_has_energies_forces_virial_and_charges(student, limit):
    model = type(student.model)(student.model.config).to(student.dtype)
    model.load_state_dict(student.model.state_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model.charges = ChargeReadout(model.n_features, 5).to(student.dtype)
    model = model.eval().requires_grad_(False)
    inputs = graph_inputs([structures.ethanol(), structures.triclinic_crystal()], student.dtype)
    found, wanted = fused_graph_of(model)(*inputs), graph_of(model)(*inputs)
    assert len(found) == len(wanted) == 5
    for one, other in zip(found, wanted, strict=True):
        scale = max(1.0, float(other.abs().max()))
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=3 * limit * scale)
    assert float(found[4].double().std()) > 0.01


def test_the_virial_is_the_derivative_in_a_strain():
    model = small_student(dtype=torch.float64, kernel="reference").model
    graph = fused_graph_of(model)
    numbers, vectors, *rest = graph_inputs([structures.triclinic_crystal()], torch.float64)
    virial = graph(numbers, vectors, *rest)[3][0]
    for a, b in ((0, 0), (0, 2), (1, 2)):
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[a, b] = 1e-5
        up, down = (float(graph(numbers, vectors + sign * vectors @ strain, *rest)[0]) for sign in (1, -1))
        assert (down - up) / 2e-5 == pytest.approx(float(virial[a, b]), abs=1e-6, rel=1e-5)


@pytest.mark.parametrize("freezes", [False, True], ids=["as scripted", "frozen"])
def test_a_saved_module_gives_the_same(student, freezes):
    module, atoms = FusedStudent(student.model, 1.0).eval(), structures.ethanol()
    stream = io.BytesIO()
    with deprecation_silenced():
        torch.jit.save(torch.jit.script(module), stream)
        stream.seek(0)
        opened = torch.jit.load(stream)
        opened = torch.jit.freeze(opened.eval()) if freezes else opened
    for _ in range(4):  # torch optimises during the first calls
        for one, other in zip(evaluated(opened, atoms), evaluated(module, atoms), strict=True):
            assert torch.equal(one, other)


def test_without_a_gradient_the_energy_is_the_same(student):
    module, atoms = FusedStudent(student.model, 1.0), structures.ethanol()
    numbers, x, cell = torch.tensor(atoms.numbers), torch.tensor(atoms.positions), torch.zeros(3, 3).double()
    with torch.no_grad():
        energy = module(numbers, x.clone().requires_grad_(), cell, False)
    assert not energy.requires_grad
    assert torch.equal(energy, evaluated(module, atoms)[0])


def test_gradients_are_multiplied_by_what_comes_back(student):
    module, atoms = FusedStudent(student.model, 1.0), structures.ethanol()
    x = torch.tensor(atoms.positions).requires_grad_()
    (3.0 * module(torch.tensor(atoms.numbers), x, torch.zeros(3, 3).double(), False)).backward()
    torch.testing.assert_close(x.grad, 3.0 * evaluated(module, atoms)[1])


def test_second_derivatives_are_refused():
    module, atoms = FusedStudent(small_student().model, 1.0), structures.ethanol()
    x = torch.tensor(atoms.positions).requires_grad_()
    energy = module(torch.tensor(atoms.numbers), x, torch.zeros(3, 3).double(), False)
    (gradient,) = torch.autograd.grad(energy, x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"first derivatives.*operator=portable"):
        torch.autograd.grad(gradient.square().sum(), x)


def test_other_systems_get_neighbours_of_their_own():
    """Sizes, cells and periodicity change from call to call."""
    student = small_student(kernel="reference")
    module = FusedStudent(student.model, 1.0)
    for make in [*MAKERS.values(), *reversed(MAKERS.values())]:
        energy, _ = evaluated(module, make())
        assert float(energy) == pytest.approx(float(student.predict(structures.to_batch(make())).energy), rel=1e-6)


def test_weights_put_into_a_module_are_used():
    first, second = small_student(kernel="reference"), small_student(kernel="reference")
    second.model.scale.mul_(1.5)
    module = FusedStudent(first.model, 1.0)
    before, _ = evaluated(module, structures.ethanol())
    module.load_state_dict(FusedStudent(second.model, 1.0).state_dict())
    after, _ = evaluated(module, structures.ethanol())
    assert float(after - before) != 0
    assert float(after) == pytest.approx(
        float(second.predict(structures.to_batch(structures.ethanol())).energy), rel=1e-6
    )


def test_a_model_that_is_gone_leaves_nothing_behind():
    """A new model may get the memory of an old one; it must not get its numbers."""
    energies = set()
    for factor in (1.0, 2.0, 3.0, 4.0):
        student = small_student(kernel="reference")
        student.model.scale.mul_(factor)
        energies.add(float(evaluated(FusedStudent(student.model, 1.0), structures.ethanol())[0]))
        gc.collect()
    assert len(energies) == 4


@pytest.mark.parametrize("z", [92, 0, -1, 4000, 2**40])
def test_an_unknown_element_is_refused(z):
    student, atoms = small_student(), structures.ethanol()
    numbers = torch.tensor(atoms.numbers)
    numbers[4] = z
    cell, x = torch.zeros(3, 3).double(), torch.tensor(atoms.positions)
    with pytest.raises(RuntimeError, match=f"does not know the atomic numbers.*{z}"):
        FusedStudent(student.model, 1.0)(numbers, x, cell, False)
    inputs = graph_inputs([atoms])
    with pytest.raises(RuntimeError, match=f"does not know the atomic numbers.*{z}"):
        fused_graph_of(student.model)(numbers, *inputs[1:])


def with_checksum(content):
    return torch.frombuffer(bytearray(content + zlib.crc32(content).to_bytes(4, "little")), dtype=torch.uint8)


def changed(content, at, value=None):
    damaged = bytearray(content)
    damaged[at] = damaged[at] ^ 1 if value is None else value
    return bytes(damaged)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda content: torch.frombuffer(bytearray(changed(content, 5000)), dtype=torch.uint8), "checksum is wrong"),
        (lambda content: torch.frombuffer(bytearray(content[:-1]), dtype=torch.uint8), "checksum is wrong"),
        (lambda content: torch.frombuffer(bytearray(content[:9]), dtype=torch.uint8), "does not begin"),
        (lambda content: torch.zeros(0, dtype=torch.uint8), "does not begin"),
        (lambda content: with_checksum(content[:-100]), "do not fit its length"),
        (
            lambda content: with_checksum(changed(content[:-4], 8, ABI + 1)),
            f"for interface {ABI + 1} of the CPU kernel.*{ABI}",
        ),
        (lambda content: torch.frombuffer(bytearray(content), dtype=torch.uint8).float(), "a model is bytes"),
    ],
    ids=["one bit", "cut off", "a piece", "nothing", "a shorter one", "another interface", "another precision"],
)
def test_damaged_bytes_are_refused(make, words):
    module, atoms = FusedStudent(small_student().model, 1.0), structures.ethanol()
    module.weights = make(bytes(module.weights.numpy()))
    with pytest.raises(RuntimeError, match=words):
        evaluated(module, atoms)


def test_the_bytes_are_those_of_the_kernel():
    model = small_student().model
    assert packed(model) in bytes(model_bytes(model).numpy())


def test_wrong_shapes_are_refused():
    module, cell = FusedStudent(small_student().model, 1.0), torch.zeros(3, 3).double()
    with pytest.raises(RuntimeError, match=r"wanted atomic_numbers \(n_atoms,\)"):
        module(torch.tensor([1, 1]), torch.zeros(3, 3).double(), cell, False)


@pytest.mark.parametrize("rows", [[[5.0, 0, 0], [0, 5, 0], [0, 0, 0]], [[5.0, 0, 0], [5, 0, 0], [0, 0, 5]]])
def test_a_cell_without_volume_is_refused(rows):
    module, atoms = FusedStudent(small_student().model, 1.0), structures.small_cell()
    atoms.set_cell(rows)
    with pytest.raises(RuntimeError, match="cell is too flat"):
        evaluated(module, atoms)


def test_a_cell_that_wants_a_gradient_is_refused():
    module, atoms = FusedStudent(small_student().model, 1.0), structures.small_cell()
    cell = torch.tensor(np.asarray(atoms.cell)).requires_grad_()
    with pytest.raises(RuntimeError, match="no derivative in the cell"):
        module(torch.tensor(atoms.numbers), torch.tensor(atoms.positions), cell, True)


def test_a_process_without_this_package_loads_the_library_by_its_path(tmp_path):
    student, atoms = small_student(), structures.ethanol()
    with deprecation_silenced():
        torch.jit.save(torch.jit.script(FusedStudent(student.model, 1.0).eval()), str(tmp_path / "model.pt"))
    script = (
        "import sys, torch\n"
        "if len(sys.argv) > 2: torch.ops.load_library(sys.argv[2])\n"
        "module = torch.jit.load(sys.argv[1])\n"
        f"x = torch.tensor({atoms.positions.tolist()}, dtype=torch.float64)\n"
        f"print(float(module(torch.tensor({atoms.numbers.tolist()}), x, torch.zeros(3, 3).double(), False)))\n"
        "assert not any(name.startswith('mlff_core') for name in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model.pt")]
    done = subprocess.run([*command, str(library_path())], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(evaluated(FusedStudent(student.model, 1.0), atoms)[0]), rel=1e-9)
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode != 0
    assert "mlff operators" in done.stderr


def test_the_command_prints_the_path():
    command = [sys.executable, "-m", "mlff_core.cli", "operators"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(library_path()), done.stderr


def test_without_a_compiler_the_words_say_what_to_install(tmp_path):
    script = "import mlff_core.operators"
    environment = {**os.environ, "MLFF_CACHE_DIR": str(tmp_path), "CXX": "no-such-compiler", "MLFF_KERNEL": ""}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode != 0
    assert "no C++ compiler was found" in done.stderr
