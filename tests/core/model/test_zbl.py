"""The short-range repulsion."""

import torch

from mlff_core.model.zbl import ZBLRepulsion

EVERY = tuple(range(1, 119))


def test_every_pair_of_elements_repels_the_more_the_closer_it_is():
    zbl = ZBLRepulsion(EVERY, 6.0).double()
    first, second = (index.reshape(-1) for index in torch.meshgrid(torch.arange(118), torch.arange(118), indexing="ij"))
    ends = 1.0 / zbl.inverse_ranges[first, second]
    previous = None
    for fraction in torch.linspace(0, 1, 60, dtype=torch.float64):
        energy = zbl.pair_energies(0.3 + fraction * (ends - 0.3), first, second)
        assert bool((energy >= 0).all())
        if previous is not None:
            assert bool((energy < previous).all())
        previous = energy
    assert bool((zbl.pair_energies(ends + 1e-9, first, second) == 0).all())


def test_each_edge_has_half_the_pair_energy_and_order_does_not_matter():
    zbl = ZBLRepulsion((1, 6, 8), 5.0).double()
    r = torch.tensor([0.7], dtype=torch.float64)
    forward, backward = (zbl.pair_energies(r, torch.tensor([a]), torch.tensor([b])) for a, b in ((0, 2), (2, 0)))
    assert torch.equal(forward, backward)
    # Close in, what is left of the screened Coulomb energy of H and O at 0.01 Å: 14.3996 · 8 / 0.01 = 11520 eV.
    bare = 2 * float(zbl.pair_energies(torch.tensor([0.01], dtype=torch.float64), torch.tensor([0]), torch.tensor([2])))
    assert 0.85 * 11520 < bare < 11520


def test_hydrogen_atoms_are_held_apart_at_less_than_one_angstrom():
    zbl = ZBLRepulsion((1,), 5.0).double()
    assert float(1 / zbl.inverse_ranges[0, 0]) == 1.0
    zero = torch.tensor([0])
    assert float(zbl.pair_energies(torch.tensor([0.5], dtype=torch.float64), zero, zero)) > 0.5
