"""The file for NNPot, called like grompp and mdrun call it (without a build of GROMACS)."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from click.testing import CliRunner

from mlff_core.cli.main import cli
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.potentials.checks import check_elements
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import ExporterContract, small_student, structures
from mlff_core.units import ANGSTROM_PER_NM, KJ_MOL_PER_EV
from mlff_plugins.gromacs import GromacsExporter
from mlff_plugins.gromacs.reopened import INPUTS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "engines" / "gromacs_nnpot.py"


class TestGromacsExporter(ExporterContract):
    exporter = GromacsExporter()


class TestFusedGromacsExporter(ExporterContract):
    exporter = GromacsExporter()
    options = {"operator": "fused"}  # noqa: RUF012


@pytest.fixture(scope="module", params=["portable", "fused"])
def file(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("gromacs") / "nnp.pt"
    GromacsExporter().export(small_student(), path, {"operator": request.param})
    return path


def inputs_of(atoms):
    positions = torch.tensor(atoms.positions / ANGSTROM_PER_NM, dtype=torch.float32, requires_grad=True)
    inputs = [positions, torch.tensor(atoms.numbers, dtype=torch.int32)]
    if atoms.pbc.any():
        inputs += [torch.tensor(atoms.cell.array / ANGSTROM_PER_NM, dtype=torch.float32), torch.tensor(atoms.pbc)]
    return inputs


def energy_and_forces(module, atoms):
    inputs = inputs_of(atoms)
    energy = module(*inputs)
    energy.backward()
    return energy.item() / KJ_MOL_PER_EV, -inputs[0].grad.numpy() / (KJ_MOL_PER_EV * ANGSTROM_PER_NM)


def predicted(atoms):
    """Return the model's results at the positions rounded to float32 nm."""
    seen = atoms.copy()
    seen.positions = inputs_of(atoms)[0].detach().double().numpy() * ANGSTROM_PER_NM
    if atoms.pbc.any():
        seen.set_cell(inputs_of(atoms)[2].double().numpy() * ANGSTROM_PER_NM)
    found = small_student().predict(batch_from_atoms(seen, dtype=torch.float64))
    return float(found.energy), found.forces.numpy()


def test_a_trajectory_in_one_loaded_file_has_the_models_energies_and_forces(file):
    # Species, atom count, box and periodicity change between calls, and atoms move under the kept neighbour list.
    module = torch.jit.load(str(file))
    random = np.random.RandomState(0)
    for name, atoms in structures.all_structures().items():
        for step in range(4):
            energy, forces = energy_and_forces(module, atoms)
            wanted_energy, wanted_forces = predicted(atoms)
            scale = max(1.0, np.abs(wanted_forces).max())
            assert abs(energy - wanted_energy) < 2e-5 * len(atoms), (name, step)
            assert np.abs(forces - wanted_forces).max() < 2e-5 * scale, (name, step)
            atoms.positions += random.normal(scale=0.05, size=(len(atoms), 3))
            if atoms.pbc.any():
                atoms.set_cell(atoms.cell.array * 1.001)


def test_what_mdrun_owns_is_not_written_to(file):
    inputs = inputs_of(structures.triclinic_crystal())
    kept = [tensor.detach().clone() for tensor in inputs]
    module = torch.jit.load(str(file))
    module(*inputs).backward()
    assert all(torch.equal(before, after.detach()) for before, after in zip(kept, inputs, strict=True))


@pytest.mark.parametrize("n_atoms", [1, 3, 250])
@pytest.mark.parametrize("n_inputs", [2, 4])
def test_grompps_trial_of_the_file_passes(file, n_atoms, n_inputs):
    # grompp 2026 puts all atoms in a row in a box of 1 nm, where the 101st lies on an image of the first.
    k = torch.arange(1, n_atoms + 1, dtype=torch.float64)
    row = (0.01 * torch.stack([k, 2 * k, 3 * k], dim=1)).float().requires_grad_()
    box, pbc = torch.eye(3), torch.tensor([True, True, True])
    module = torch.jit.load(str(file))
    module(*[row, torch.ones(n_atoms, dtype=torch.int32), box, pbc][:n_inputs]).backward()
    assert row.grad.shape == (n_atoms, 3)


def test_grompp_2025_tries_one_atom_at_the_origin(file):
    position = torch.zeros(1, 3, requires_grad=True)
    module = torch.jit.load(str(file))
    module(position, torch.ones(1, dtype=torch.int32), torch.eye(3), torch.tensor([True] * 3)).backward()
    assert torch.isfinite(position.grad).all()


def refusal(file, inputs):
    with pytest.raises((torch.jit.Error, RuntimeError)) as caught:
        torch.jit.load(str(file))(*inputs)
    return str(caught.value)


def test_an_element_the_model_never_saw_is_refused_with_the_message_of_every_engine(file):
    atoms = structures.ethanol()
    atoms.numbers[:2] = (92, 26)
    with pytest.raises(UnsupportedError) as ours:
        check_elements(small_student().card, atoms.numbers.tolist())
    assert str(ours.value) in refusal(file, inputs_of(atoms))


def test_an_odd_number_of_electrons_is_refused_by_the_file_of_a_closed_shell_model(tmp_path):
    student = small_student()
    student.card = replace(student.card, spin_multiplicities="closed shell")
    GromacsExporter().export(student, tmp_path / "closed.pt")
    radical = structures.ethanol()[:-1]
    with pytest.raises(UnsupportedError) as ours:
        student.predict(batch_from_atoms(radical))
    assert str(ours.value) in refusal(tmp_path / "closed.pt", inputs_of(radical))
    module = torch.jit.load(str(tmp_path / "closed.pt"))
    assert energy_and_forces(module, structures.ethanol())[0] == pytest.approx(
        predicted(structures.ethanol())[0], rel=1e-6
    )
    # What grompp tries passes: one hydrogen atom at the origin, three in a row.
    for row in (torch.zeros(1, 3), 0.01 * torch.tensor([[1.0, 2, 3], [2, 4, 6], [3, 6, 9]])):
        module(row.requires_grad_(), torch.ones(len(row), dtype=torch.int32)).backward()


def test_bad_structures_are_refused(file):
    atoms = structures.ethanol()
    atoms.positions[1] = atoms.positions[0] + 0.1
    assert "overlap" in refusal(file, inputs_of(atoms))
    atoms.positions[1] = np.nan
    assert "positions must be finite, but atom 1" in refusal(file, inputs_of(atoms))


def test_a_box_needs_pbc_and_two_periodic_directions(file):
    positions, numbers, box, _ = inputs_of(structures.triclinic_crystal())
    assert "box came without pbc" in refusal(file, [positions, numbers, box])
    assert "pbc must be xyz or xy" in refusal(file, [positions, numbers, box, torch.tensor([True, False, False])])


def test_double_precision_and_other_endings_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="float32"):
        GromacsExporter().export(small_student(dtype=torch.float64), tmp_path / "nnp.pt")
    with pytest.raises(InputError, match=r"end in \.pt"):
        GromacsExporter().export(small_student(), tmp_path / "nnp.ts")
    assert not list(tmp_path.iterdir())


def test_the_example_runs_on_what_the_command_wrote_without_this_package(tmp_path):
    student, atoms = small_student(), structures.triclinic_crystal()
    model = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    line = ["export", str(model), "--format", "gromacs", "-o", str(tmp_path / "nnp.pt")]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 0, done.output
    for k, name in enumerate(INPUTS, start=1):
        assert f"nnpot-model-input{k}: {name}" in done.stdout
    ase.io.write(tmp_path / "atoms.extxyz", atoms)
    # -I: neither the checkout nor this process's path is seen; mlff is hidden where it is installed.
    hide = "import runpy, sys; sys.modules['mlff_core'] = sys.modules['mlff_plugins'] = None; "
    run = f"sys.argv = ['x', 'nnp.pt', 'atoms.extxyz']; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-I", "-c", hide + run], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    energy, forces = predicted(ase.io.read(tmp_path / "atoms.extxyz"))
    fields = done.stdout.replace(",", "").split()
    assert float(fields[0]) / KJ_MOL_PER_EV == pytest.approx(energy, abs=2e-5 * len(atoms))
    largest = np.linalg.norm(forces, axis=1).max()
    assert float(fields[4]) / (KJ_MOL_PER_EV * ANGSTROM_PER_NM) == pytest.approx(largest, rel=1e-4)


def test_the_page_shows_the_inputs_in_the_modules_order_and_the_example():
    page = (ROOT / "docs" / "engines" / "gromacs.md").read_text()
    for k, name in enumerate(INPUTS, start=1):
        assert f"nnpot-model-input{k}" in page
        assert f"= {name}\n" in page
    assert EXAMPLE.read_text().split('"""', 2)[2].strip() in page


LIKE_GROMACS = """
import ctypes, os, sys, torch
reader = torch._C.PyTorchFileReader(sys.argv[1])
for library in reader.get_record("extra/extension_libs").decode().split(":"):
    ctypes.CDLL(library, mode=os.RTLD_LAZY)
module = torch.jit.load(sys.argv[1])
positions = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]], requires_grad=True)
energy = module(positions, torch.tensor([6, 8], dtype=torch.int32))
energy.backward()
assert not any(name.startswith("mlff") for name in sys.modules)
print(energy.item(), -positions.grad[1, 0].item())
"""


def test_a_fused_file_brings_its_library_as_gromacs_opens_it(tmp_path):
    """As ``loadModelExtensions`` of GROMACS' torchmodel.cpp does, before the file."""
    GromacsExporter().export(small_student(), tmp_path / "nnp.pt", {"operator": "fused"})
    command = [sys.executable, "-c", LIKE_GROMACS, str(tmp_path / "nnp.pt")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    energy, force = (float(number) for number in done.stdout.split())
    wanted_energy, wanted_forces = predicted(Atoms("CO", positions=[[0, 0, 0], [1, 0, 0]]))
    assert energy / KJ_MOL_PER_EV == pytest.approx(float(wanted_energy), rel=1e-6)
    assert force / (KJ_MOL_PER_EV * ANGSTROM_PER_NM) == pytest.approx(float(wanted_forces[1, 0]), rel=1e-5)
