"""Rows of Hessians: labelled as by autograd, kept in the file, and read back with their structures."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.data.convert import convert
from mlff_core.data.edges import find_edges
from mlff_core.data.hdf5 import Dataset, LabelledStructure, batch_from_structures, write_dataset
from mlff_core.data.hessian import directions
from mlff_core.data.label import LabelConfig, label, label_structures
from mlff_core.data.memory import Rows
from mlff_core.errors import InputError
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.neighbors import edge_vectors
from mlff_core.testing.reference_potential import PairPotential


def bent(k, n_atoms):
    rng = np.random.default_rng(k)
    positions = 1.3 * np.arange(n_atoms)[:, None] * np.array([0.8, 0.6, 0.0]) + 0.1 * rng.standard_normal((n_atoms, 3))
    return LabelledStructure(np.array([6, 8, 1, 6, 1])[:n_atoms], positions.astype(np.float32), molecule_id=k)


@pytest.fixture(name="student", scope="module")
def fixture_student():
    torch.manual_seed(0)
    model = PaiNN(PaiNNConfig(elements=(1, 6, 8), hidden=8, n_layers=2))
    card = ModelCard(name="fresh", elements=(1, 6, 8), cutoff=model.config.cutoff, architecture="painn")
    return StudentPotential(model, card, dtype=torch.float64)


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    """Five chains; the second has two rows, the fourth one, the others none."""
    teacher = PairPotential(dtype=torch.float64)
    structures = []
    for k, (n_atoms, n_rows) in enumerate([(3, 0), (4, 2), (5, 0), (3, 1), (4, 0)]):
        structures += label_structures(teacher, [bent(k, n_atoms)], hessian_rows=n_rows).structures
    write_dataset(tmp_path / "rows.h5", structures)
    return tmp_path / "rows.h5"


def hessian(model, structure):
    """The Hessian of the network's energy by automatic differentiation, shape (3 n_atoms, 3 n_atoms), eV/Å²."""
    batch = batch_from_structures([structure], dtype=torch.float64)
    edges = find_edges(batch, model.config.cutoff)

    def energy(positions):
        moved = replace(batch, positions=positions)
        return model(batch.atomic_numbers, edge_vectors(moved, edges), edges.centers, edges.neighbors).sum()

    n = 3 * batch.n_atoms
    return torch.autograd.functional.hessian(energy, batch.positions).reshape(n, n).numpy()


@pytest.mark.parametrize("kind", ["random", "coordinate"])
def test_labelled_rows_are_those_of_the_hessian(student, kind):
    chains = [bent(k, n) for k, n in enumerate((3, 5, 4))]
    found = label_structures(student, chains, hessian_rows=3, hessian_directions=kind, batch_atoms=14).structures
    for structure in found:
        exact = hessian(student.model, structure)
        assert structure.hessian_direction.shape == (3, structure.n_atoms, 3)
        for v, product in zip(structure.hessian_direction, structure.hessian_product, strict=True):
            assert np.linalg.norm(v) == pytest.approx(1.0, rel=1e-6)
            wanted = (exact @ v.reshape(-1).astype(np.float64)).reshape(-1, 3)
            np.testing.assert_allclose(product, wanted, atol=5e-3 * np.abs(exact).max())


def test_coordinates_are_not_drawn_twice_and_directions_belong_to_the_positions():
    one = bent(0, 3)
    rows = directions(one, 9, "coordinate").reshape(9, 9)
    np.testing.assert_array_equal(rows.sum(axis=0), 1.0)
    np.testing.assert_array_equal(directions(one, 2, "random"), directions(bent(0, 3), 2, "random"))
    assert np.abs(directions(one, 2, "random") - directions(bent(1, 3), 2, "random")).max() > 0.1


def test_rows_are_read_back_with_their_structures_in_any_order(path):
    teacher = PairPotential(dtype=torch.float64)
    with Dataset(path) as data:
        data.validate()
        assert data.hessian_rows_per_structure.tolist() == [0, 2, 0, 1, 0]
        written = label_structures(teacher, [bent(1, 4)], hessian_rows=2).structures[0]
        np.testing.assert_array_equal(data.structure(1).hessian_product, written.hessian_product)
        assert data.structure(0).hessian_direction is None
        for rows in (data.read([3, 2, 1, 3]).hessian, Rows(data, np.arange(5)).gather(np.array([3, 2, 1, 3])).hessian):
            assert rows.system.tolist() == [0, 2, 2, 3]
            single = data.structure(3).hessian_product[0]
            parts = [single, *written.hessian_product, single]
            np.testing.assert_array_equal(rows.product.numpy(), np.concatenate(parts))
        assert len(data.read([0, 2]).hessian.system) == 0


def test_rows_survive_extended_xyz(path, tmp_path):
    convert(path, tmp_path / "rows.extxyz")
    convert(tmp_path / "rows.extxyz", tmp_path / "again.h5")
    with Dataset(path) as first, Dataset(tmp_path / "again.h5") as second:
        assert second.hessian_rows_per_structure.tolist() == [0, 2, 0, 1, 0]
        np.testing.assert_allclose(second.structure(1).hessian_product, first.structure(1).hessian_product, atol=1e-6)


def test_a_labelling_run_keeps_the_rows_and_names_the_setting_that_is_wrong(path, tmp_path):
    config = LabelConfig(batch_structures=2, hessian_rows=1, hessian_directions="coordinate")
    label(path, tmp_path / "out.h5", PairPotential(dtype=torch.float64), config)
    with Dataset(tmp_path / "out.h5") as data:
        assert data.hessian_rows_per_structure.tolist() == [1] * 5
    with pytest.raises(InputError, match="hessian_rows must not be negative"):
        LabelConfig(hessian_rows=-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.__delitem__("product"), "'hessian/product': is missing"),
        (lambda g: g["structure"].write_direct(np.array([1, 1, 9])), "'hessian/structure': must lie in 0–4"),
        (lambda g: g["structure"].write_direct(np.array([1, 2, 3])), "row 1 must have the 5 atoms of structure 2"),
    ],
)
def test_rows_that_fit_no_structure_are_refused(path, change, message):
    with h5py.File(path, "r+") as file:
        change(file["hessian"])
    with pytest.raises(InputError, match=message):
        Dataset(path)


def test_a_row_that_is_not_finite_is_found(path):
    with h5py.File(path, "r+") as file:
        file["hessian/product"][2, 1] = np.nan
    with Dataset(path) as data:
        owner = int(data.hessian_rows_per_structure.nonzero()[0][0])
        message = f"'hessian/product': must be finite, but structure {owner} holds"
        for refused in (data.validate, lambda: data.read([0, owner])):
            with pytest.raises(InputError, match=message):
                refused()
