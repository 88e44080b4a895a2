"""The operator of metatomic files: energies of atoms, and the derivatives of their sum in positions and cell."""

import pytest
import torch

from mlff_core.kernels.fused_modules import model_bytes
from mlff_core.kernels.operator_library import load_operators
from mlff_core.structures.neighbors import find_neighbors
from mlff_core.testing import small_student, structures

MAKERS = {
    "molecule": structures.ethanol,
    "cell smaller than the cutoff": structures.small_cell,
    "triclinic": structures.triclinic_crystal,
}

load_operators()


def pair_inputs(atoms):
    """Return numbers, positions, cell and pairs (centre, neighbour, steps) of a structure."""
    batch = structures.to_batch(atoms).to(dtype=torch.float64)
    edges = find_neighbors(batch, small_student().card.cutoff)
    pairs = torch.cat([edges.centers[:, None], edges.neighbors[:, None], edges.cell_shifts.long()], dim=1)
    return batch.atomic_numbers, batch.positions, batch.cell[0], pairs


@pytest.mark.parametrize("chosen", [None, [3, 0, 5], []], ids=["all atoms", "some atoms", "no atom"])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_sums_of_atom_energies_have_the_derivatives_of_the_reference(make, chosen):
    """In positions and cell, as metatomic's engines take them."""
    model = small_student(dtype=torch.float64, kernel="reference").model
    numbers, positions, cell, pairs = pair_inputs(make())
    picked = None if chosen is None else torch.tensor([k for k in chosen if k < len(numbers)], dtype=torch.int64)
    found, wanted = [], []
    for results, fused in ((found, True), (wanted, False)):
        x, box = positions.clone().requires_grad_(), cell.clone().requires_grad_()
        if fused:
            energies = torch.ops.mlff.system_energies(model_bytes(model), numbers, x, box, pairs.int(), picked, "")
        else:
            vectors = x[pairs[:, 1]] - x[pairs[:, 0]] + pairs[:, 2:].double() @ box
            energies = model(numbers, vectors, pairs[:, 0], pairs[:, 1])
            energies = energies if picked is None else energies[picked]
        results += [energies, *torch.autograd.grad(2.0 * energies.sum(), (x, box), allow_unused=True)]
    for one, other in zip(found, wanted, strict=True):
        other = torch.zeros_like(one) if other is None else other
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


def test_derivatives_of_single_atom_energies_are_refused():
    model = small_student().model
    numbers, positions, cell, pairs = pair_inputs(structures.ethanol())
    x = positions.requires_grad_()
    energies = torch.ops.mlff.system_energies(model_bytes(model), numbers, x, cell, pairs, None, "")
    with pytest.raises(RuntimeError, match=r"the sum of atom energies.*operator=portable"):
        (energies[0] - energies[1]).backward()


@pytest.mark.parametrize("chosen", [[0, 0], [9], [-1]])
def test_wrong_selections_are_refused(chosen):
    numbers, positions, cell, pairs = pair_inputs(structures.ethanol())
    with pytest.raises(RuntimeError, match="selected atoms must be different indices below 9"):
        torch.ops.mlff.system_energies(
            model_bytes(small_student().model), numbers, positions, cell, pairs, torch.tensor(chosen), ""
        )
