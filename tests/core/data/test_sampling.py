"""Sampling of geometries: each kind, and what all kinds keep.

Over 300 lines, in one file because each kind of sampling is held to the same rules.
"""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.data import covalent_radii

from mlff_core.data.hdf5 import LabelledStructure
from mlff_core.data.sampling import (
    STRATEGIES,
    Cell,
    Cluster,
    Collision,
    Descent,
    Dimer,
    GfnffMd,
    NormalMode,
    Rattle,
    SamplingContext,
    Strain,
    Stretch,
    Torsion,
    closest_contact,
    langevin,
    langevin_md,
)
from mlff_core.data.sampling.bonds import bonds, side
from mlff_core.data.sampling.cluster import water
from mlff_core.data.sampling.normal_mode import internal_modes
from mlff_core.errors import InputError
from mlff_core.testing.reference_potential import PairPotential
from mlff_core.units import EV_PER_KELVIN


def ase_molecule(name):
    atoms = molecule(name)
    return LabelledStructure(
        atomic_numbers=atoms.numbers.astype(np.uint8), positions=atoms.positions, molecule_id=3, kind="minimum"
    )


ETHANOL = ase_molecule("CH3CH2OH")
CRYSTAL = LabelledStructure(
    np.array([6, 8], dtype=np.uint8),
    np.array([[0.1, 0.2, 0.0], [1.9, 1.5, 2.2]]),
    cell=np.array([[4.1, 0, 0], [0.7, 4.3, 0], [-0.4, 0.5, 4.4]]),
    pbc=np.ones(3, bool),
)
CONTEXT = SamplingContext(PairPotential(), lambda rng: ETHANOL, lambda rng: ETHANOL)


def rng(seed=0):
    return np.random.default_rng(seed)


def distances(structure):
    return np.linalg.norm(structure.positions[:, None] - structure.positions[None], axis=2)


@pytest.mark.parametrize("kind", list(STRATEGIES))
def test_the_same_seed_gives_the_same_geometries_and_the_start_is_left_alone(kind):
    if kind in ("md", "cluster"):
        pytest.importorskip("gfnff")
    strategy = STRATEGIES[kind](**({"probability": 1.0} if kind in ("dimer", "cluster") else {}))
    start = CRYSTAL if not strategy.molecules else ETHANOL
    before = start.positions.copy()
    first, second, other = (strategy.sample(start, rng(seed), CONTEXT) for seed in (1, 1, 2))
    assert first
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(first, second, strict=True))
    if kind not in ("minimum", "descent"):
        assert any(
            a.n_atoms != b.n_atoms or not np.array_equal(a.positions, b.positions)
            for a, b in zip(first, other, strict=False)
        )
    np.testing.assert_array_equal(start.positions, before)
    assert all(made.kind == ("minimum" if kind == "minimum" else kind) for made in first)
    assert all(made.positions.dtype == np.float32 for made in first)


@pytest.mark.parametrize("kind", list(STRATEGIES))
def test_no_label_of_the_start_is_left_on_a_geometry(kind):
    if kind in ("md", "cluster"):
        pytest.importorskip("gfnff")
    strategy = STRATEGIES[kind](**({"probability": 1.0} if kind in ("dimer", "cluster") else {}))
    start = ETHANOL if strategy.molecules else CRYSTAL
    labels = {
        "energy": 1.0,
        "forces": np.ones((start.n_atoms, 3)),
        "stress": np.ones((3, 3)),
        "atom_energies": np.ones(start.n_atoms),
        "hessian_direction": np.ones((2, start.n_atoms, 3)),
        "hessian_product": np.ones((2, start.n_atoms, 3)),
    }
    made = strategy.sample(replace(start, **labels), rng(1), CONTEXT)
    assert made
    assert all(getattr(structure, name) is None for structure in made for name in labels)


def test_a_rattle_is_as_wide_as_it_says():
    made = Rattle(n=400, sigma_min=0.05, sigma_max=0.05).sample(ETHANOL, rng(), CONTEXT)
    moves = np.stack([m.positions - ETHANOL.positions for m in made])
    assert moves.std() == pytest.approx(0.05, rel=0.03)


def test_a_strain_without_noise_is_affine_about_the_middle():
    (made,) = Strain(sigma=0.0, strain=0.05).sample(ETHANOL, rng(), CONTEXT)
    before = ETHANOL.positions - ETHANOL.positions.mean(axis=0)
    after = made.positions - made.positions.mean(axis=0)
    deformation, *_ = np.linalg.lstsq(before, after, rcond=None)
    np.testing.assert_allclose(before @ deformation, after, atol=1e-5)
    assert np.abs(deformation - np.eye(3)).max() > 0.005


def test_a_torsion_keeps_every_bond_and_angle():
    made = Torsion(n=5).sample(ETHANOL, rng(), CONTEXT)
    pairs = bonds(ETHANOL)
    near = {
        tuple(sorted((a, c)))
        for a, b in pairs + [p[::-1] for p in pairs]
        for c in range(9)
        if (b, c) in pairs or (c, b) in pairs
    }
    kept = [p for p in {*pairs, *near} if p[0] != p[1]]
    for one in made:
        for i, j in kept:
            assert distances(one)[i, j] == pytest.approx(distances(ETHANOL)[i, j], abs=1e-5)
    assert any(np.abs(distances(one) - distances(ETHANOL)).max() > 0.2 for one in made)


def test_molecules_without_a_turnable_bond_give_no_torsion():
    assert Torsion().sample(ase_molecule("C6H6"), rng(), CONTEXT) == []
    assert Torsion().sample(ase_molecule("H2O"), rng(), CONTEXT) == []


def test_a_stretch_changes_one_bond_within_its_range():
    for seed in range(20):
        (made,) = Stretch().sample(ETHANOL, rng(seed), CONTEXT)
        changes = [distances(made)[i, j] / distances(ETHANOL)[i, j] - 1 for i, j in bonds(ETHANOL)]
        changed = [change for change in changes if abs(change) > 1e-5]
        assert len(changed) == 1
        assert -0.1201 <= changed[0] <= 0.2501


def test_a_stretch_in_a_ring_moves_two_atoms():
    made = [Stretch().sample(ase_molecule("C6H6"), rng(seed), CONTEXT)[0] for seed in range(20)]
    moved = [(np.abs(m.positions - ase_molecule("C6H6").positions).max(axis=1) > 1e-5).sum() for m in made]
    assert set(moved) == {1, 2}


def test_sides_of_a_bond():
    pairs = [(0, 1), (1, 2), (2, 3), (3, 1), (0, 4)]
    assert side(5, pairs, 0, 1) == [1, 2, 3]
    assert side(5, pairs, 1, 0) == [0, 4]
    assert side(5, pairs, 1, 2) is None


def test_a_strained_cell_keeps_fractional_coordinates_up_to_the_noise():
    for made in Cell(sigma_min=0, sigma_max=0).sample(CRYSTAL, rng(), CONTEXT):
        before = CRYSTAL.positions @ np.linalg.inv(CRYSTAL.cell)
        np.testing.assert_allclose(made.positions @ np.linalg.inv(made.cell), before, atol=1e-6)
        assert 0.8 < np.linalg.det(made.cell) / np.linalg.det(CRYSTAL.cell) < 1.25
        assert not np.allclose(made.cell, CRYSTAL.cell)


def test_a_strained_slab_keeps_its_height():
    slab = replace(CRYSTAL, pbc=np.array([True, True, False]), cell=np.diag([4.0, 4.2, 0.0]))
    for made in Cell(sigma_min=0, sigma_max=0, strain=0).sample(slab, rng(), CONTEXT):
        np.testing.assert_allclose(made.positions[:, 2], slab.positions[:, 2], atol=1e-6)
        assert made.cell[2].tolist() == [0, 0, 0]
        assert made.cell[0, 0] != 4.0


def test_dimers_touch_at_the_distance_asked_for():
    made = Dimer(n=20, probability=1, contact_min=2.0, contact_max=2.0).sample(ETHANOL, rng(), CONTEXT)
    assert len(made) == 20
    for pair in made:
        between = distances(pair)[:9, 9:]
        assert between.min() == pytest.approx(2.0, abs=1e-4)
        np.testing.assert_allclose(distances(pair)[:9, :9], distances(ETHANOL), atol=1e-5)
        np.testing.assert_allclose(distances(pair)[9:, 9:], distances(ETHANOL), atol=1e-5)


def test_charges_add_up_and_smiles_join_in_a_dimer():
    partner = replace(ase_molecule("NH3"), charge=1, smiles="[NH4+]")
    (pair,) = Dimer(probability=1).sample(
        replace(ETHANOL, charge=-1, smiles="CC[O-]"), rng(), SamplingContext(partner=lambda rng: partner)
    )
    assert (pair.charge, pair.smiles) == (0, "CC[O-].[NH4+]")


def test_clusters_hold_whole_molecules_and_stay_together():
    pytest.importorskip("gfnff")
    seen = set()
    solute, solvent = replace(ETHANOL, smiles="CCO"), replace(ase_molecule("CH3CN"), smiles="CC#N")
    for seed in range(6):
        made = Cluster(probability=1, n=2).sample(solute, rng(seed), SamplingContext(solvent=lambda rng: solvent))
        assert len(made) == 2
        for frame in made:
            parts = frame.smiles.split(".")
            seen.add((parts[0], parts[-1]))
            assert frame.n_atoms == sum({"CCO": 9, "O": 3, "CC#N": 6}[part] for part in parts)
            assert closest_contact(frame) > 0.6
            spread = np.sort(distances(frame) + 1e3 * np.eye(frame.n_atoms), axis=1)[:, 0].max()
            assert spread < 5
    assert {("CCO", "O"), ("O", "O"), ("CC#N", "CC#N")} == seen


def test_langevin_reaches_its_temperature_in_a_harmonic_well():
    """Equipartition: ⟨½ k x²⟩ = ½ k_B T in every direction."""
    masses = np.array([1.0, 12.0, 16.0] * 20)
    stiffness = 10.0
    frames = list(
        langevin(
            lambda x: -stiffness * x,
            np.zeros((60, 3)),
            masses,
            rng(),
            temperature_k=300.0,
            timestep_fs=0.5,
            friction_per_ps=50.0,
            n_frames=200,
            steps_between=20,
        )
    )
    energy = 0.5 * stiffness * np.mean(np.stack(frames[20:]) ** 2)
    assert energy == pytest.approx(0.5 * EV_PER_KELVIN * 300, rel=0.05)


def test_langevin_conserves_energy_without_friction():
    positions, masses = rng().normal(size=(5, 3)), np.full(5, 12.0)
    frames = [positions, *langevin(lambda x: -5 * x, positions, masses, rng(1), temperature_k=1e-9, timestep_fs=0.5,
                                   friction_per_ps=0.0, n_frames=400, steps_between=1)]  # fmt: skip
    potential = np.array([2.5 * (x**2).sum() for x in frames])
    assert potential.max() <= potential[0] * 1.001
    assert potential.min() < 0.05 * potential[0]
    assert potential.max() > 0.99 * potential[0]


def test_langevin_refuses_a_run_that_falls_apart():
    frames = langevin(lambda x: 1e4 * x, np.ones((3, 3)), np.full(3, 12.0), rng(), temperature_k=300.0, timestep_fs=1.0,
                      friction_per_ps=1.0, n_frames=3, steps_between=5)  # fmt: skip
    with pytest.raises(InputError, match=r"atom \d moved by .* in one step"):
        list(frames)


def test_langevin_md_moves_molecules_and_crystals_with_any_potential():
    starts = [ETHANOL, CRYSTAL, ase_molecule("H2O")]
    frames = langevin_md(PairPotential(), starts, rng(3), n_frames=3, steps_between=5, temperature_k=(200, 400))
    assert [len(f) for f in frames] == [3, 3, 3]
    for start, made in zip(starts, frames, strict=True):
        assert all(m.kind == "md" and np.array_equal(m.atomic_numbers, start.atomic_numbers) for m in made)
        moved = [np.abs(m.positions - start.positions).max() for m in made]
        assert 0 < moved[0] < 0.5
    again = langevin_md(PairPotential(), starts, rng(3), n_frames=3, steps_between=5, temperature_k=(200, 400))
    for one, other in zip(frames, again, strict=True):
        np.testing.assert_array_equal([a.positions for a in one], [b.positions for b in other])


def test_gfnff_md_is_warm_but_whole():
    pytest.importorskip("gfnff")
    made = GfnffMd(n=6).sample(ETHANOL, rng(), CONTEXT)
    assert len(made) == 6
    for frame in made:
        assert bonds(frame) == bonds(ETHANOL)
        assert np.abs(distances(frame) - distances(ETHANOL)).max() > 0.02


def test_an_element_beyond_gfnff_is_refused():
    pytest.importorskip("gfnff")
    with pytest.raises(InputError, match="GFN-FF supports elements up to 86, got 92"):
        GfnffMd().sample(LabelledStructure(np.array([92, 1]), np.array([[0, 0, 0], [0, 0, 2.0]])), rng(), CONTEXT)


def test_descent_lowers_the_teachers_energy():
    potential = PairPotential(dtype=torch.float64)
    start = replace(ETHANOL, positions=ETHANOL.positions + rng().normal(scale=0.05, size=(9, 3)))
    made = Descent(n=3, rate=0.01).sample(start, rng(), SamplingContext(potential))
    from mlff_core.data.hdf5 import batch_from_structures

    energies = potential.predict(batch_from_structures([start, *made], dtype=torch.float64)).energy
    assert bool((energies[1:] < energies[:-1]).all())


def test_descent_of_many_is_descent_of_each():
    starts = [ETHANOL, ase_molecule("CH4"), CRYSTAL]
    together = Descent().sample_many(starts, [rng()] * 3, CONTEXT)
    for start, made in zip(starts, together, strict=True):
        for a, b in zip(made, Descent().sample(start, rng(), CONTEXT), strict=True):
            np.testing.assert_allclose(a.positions, b.positions, atol=2e-6)


def test_no_step_of_a_descent_is_longer_than_allowed():
    for made in Descent(n=1, rate=10.0, longest=0.05).sample(ETHANOL, rng(), CONTEXT):
        assert np.linalg.norm(made.positions - ETHANOL.positions, axis=1).max() == pytest.approx(0.05, rel=1e-3)


def test_internal_modes_neither_move_nor_turn_the_molecule():
    hessian = rng().normal(size=(27, 27))
    masses = np.array([12.0, 12, 16, 1, 1, 1, 1, 1, 1])
    curvatures, modes = internal_modes(hessian + hessian.T, ETHANOL.positions, masses)
    assert modes.shape == (27, 21)
    assert (np.diff(curvatures) >= 0).all()
    moves = modes.T.reshape(21, 9, 3)
    np.testing.assert_allclose(np.einsum("kij,i->kj", moves, masses), 0, atol=1e-10)
    centered = ETHANOL.positions - np.average(ETHANOL.positions, axis=0, weights=masses)
    np.testing.assert_allclose(np.einsum("kij,i->kj", np.cross(centered[None], moves), masses), 0, atol=1e-9)


def test_a_linear_molecule_keeps_one_more_mode():
    masses = np.array([16.0, 12.0, 16.0])
    _, modes = internal_modes(np.eye(9), np.array([[0, 0, -1.16], [0, 0, 0], [0, 0, 1.16]]), masses)
    assert modes.shape == (9, 4)


def test_normal_modes_have_thermal_widths():
    """A diatomic: ⟨½ k (r − r₀)²⟩ = ½ k_B T, with k from the Hessian along the bond."""
    potential = PairPotential(dtype=torch.float64)
    start = LabelledStructure(np.array([6, 8]), np.array([[0.0, 0, 0], [0, 0, 1.704]]))
    from mlff_core.data.hdf5 import batch_from_structures

    k = float(potential.hessian(batch_from_structures([start], dtype=torch.float64))[2, 2])
    strategy = NormalMode(n=3000, temperature_min_k=300, temperature_max_k=300, softest=1e-6)
    stretch = np.array([distances(m)[0, 1] for m in strategy.sample(start, rng(), SamplingContext(potential))]) - 1.704
    assert k > 1
    assert 0.5 * k * np.mean(stretch**2) == pytest.approx(0.5 * EV_PER_KELVIN * 300, rel=0.08)


def test_strategies_that_need_a_teacher_say_so():
    for strategy in (Descent(), NormalMode()):
        with pytest.raises(InputError, match="needs a teacher"):
            strategy.sample(ETHANOL, rng(), SamplingContext())


def test_contacts_see_periodic_images():
    cell = np.diag([10.0, 10, 10])
    pair = LabelledStructure(np.array([6, 6]), np.array([[0.1, 5, 5], [9.9, 5, 5]]), cell=cell, pbc=np.ones(3, bool))
    assert closest_contact(pair) == pytest.approx(0.2 / 1.52, rel=1e-6)
    assert closest_contact(replace(pair, pbc=None, cell=None)) == pytest.approx(9.8 / 1.52, rel=1e-6)
    assert closest_contact(LabelledStructure(np.array([6]), np.zeros((1, 3)))) == np.inf


def test_the_water_molecule_is_water():
    d = distances(water())
    assert d[0, 1] == pytest.approx(0.9572, abs=1e-4)
    assert d[1, 2] == pytest.approx(1.5139, abs=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rattle(sigma_min=0.2, sigma_max=0.1), "sigma_min and sigma_max must satisfy 0 ≤ min ≤ max"),
        (lambda: Rattle(n=0), "n must be at least 1, got 0; to make none, set enabled = false"),
        (lambda: Dimer(probability=2.0), "probability must lie between 0 and 1, got 2"),
        (lambda: Stretch(shortest=0.3, longest=0.1), "shortest ≤ longest"),
        (lambda: GfnffMd(timestep_fs=0.0), "timestep_fs must be positive"),
        (lambda: Descent(rate=-1.0), "rate must be positive, got -1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_sampling_is_imported_without_rdkit_and_gfnff():
    code = (
        "import sys; sys.modules.update(rdkit=None, gfnff=None, dask=None)\n"
        "import mlff_core.data.sampling, mlff_core.data.generate, mlff_core.data.split, mlff_core.cli.data\n"
        "from mlff_core.data.sampling import GfnffMd, SamplingContext\n"
        "from mlff_core.data.sampling.cluster import water\n"
        "from mlff_core.data.sampling.conformers import conformers; import numpy as np\n"
        "from mlff_core.errors import MissingDependencyError\n"
        "for call in (lambda: conformers('C', 1, 0), \\\n"
        "             lambda: GfnffMd().sample(water(), np.random.default_rng(0), SamplingContext())):\n"
        "    try: call()\n"
        "    except MissingDependencyError as error: assert \"pip install 'mlff-hub[data]'\" in str(error)\n"
        "    else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_collision_moves_one_atom_to_the_requested_share_of_the_radii():
    strategy = Collision(enabled=True, n=30, contact_min=0.4, contact_max=0.9)
    made = strategy.sample(ETHANOL, rng(), CONTEXT)
    assert len(made) == 30
    radii = covalent_radii[ETHANOL.atomic_numbers]
    shares = (distances(ETHANOL) + np.eye(9) * 9) / (radii[:, None] + radii)
    for one in made:
        assert (np.abs(one.positions - ETHANOL.positions).max(axis=1) > 1e-5).sum() == 1
        moved = int(np.argmax(np.abs(one.positions - ETHANOL.positions).max(axis=1)))
        reached = (distances(one)[moved] / (radii[moved] + radii))[np.arange(9) != moved]
        assert ((reached > 0.3999) & (reached < 0.9001)).any()
        assert one.weight == 0.1
    assert shares.min() > 0.9
    assert Collision().enabled is False


def test_an_atom_alone_has_nothing_to_collide_with():
    assert Collision().sample(ase_molecule("Be"), rng(), CONTEXT) == []
