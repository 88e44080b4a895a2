"""The pressure of a long run by the real i-PI."""

import numpy as np
import pytest
import torch
from ase import Atoms

pytest.importorskip("ipi")

from mlff_core.testing import PairPotential
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE, GPA_PER_EV_PER_ANGSTROM3
from mlff_plugins.ipi.client import Address


def mean_and_standard_error(values):
    """Return the mean of a series and its standard error, with its correlation time.

    That time is 1 + 2 Σ of the autocorrelation up to six times itself (A. Sokal, Monte Carlo methods in statistical
    mechanics (1997), doi:10.1007/978-1-4899-0319-8_6).
    """
    deviations, n = values - values.mean(), len(values)
    spectrum = np.fft.rfft(deviations, 2 * n)
    correlation = np.fft.irfft(spectrum * spectrum.conj())[:n] / np.arange(n, 0, -1)
    times = 1 + 2 * np.cumsum(correlation[1:] / correlation[0])
    time = times[int(np.argmax(np.arange(1, n) > 6 * times))]
    return values.mean(), np.sqrt(correlation[0] * time / n)


def test_the_standard_error_is_that_of_a_series_that_remembers():
    random, memory, n = np.random.RandomState(0), 0.8, 20000
    noise = random.normal(size=(40, n))
    series = np.zeros((40, n))
    for k in range(1, n):
        series[:, k] = memory * series[:, k - 1] + noise[:, k]
    errors = [mean_and_standard_error(one)[1] for one in series]
    # An autoregressive series has the variance 1 / (1 - memory)^2 / n of its mean.
    assert np.mean(errors) == pytest.approx(1 / (1 - memory) / np.sqrt(n), rel=0.1)


@pytest.mark.slow
def test_npt_in_a_triclinic_cell_has_the_pressure_that_was_asked_for(ipi):
    # A sheared close packing of carbon, each atom bound to its neighbours only, so that it stays a crystal.
    cell = np.array([[0, 1.35, 1.35], [1.35, 0, 1.35], [1.35, 1.35, 0]]) @ [
        [1, 0.04, -0.03],
        [0, 1, 0.05],
        [0.02, 0, 1],
    ]
    atoms = Atoms("C", cell=cell, pbc=True).repeat(2)
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    assert min(abs(atoms.cell.angles() - 90)) > 20
    gpa = ANGSTROM_PER_BOHR**3 / EV_PER_HARTREE / GPA_PER_EV_PER_ANGSTROM3
    target = 5.0
    run = ipi(
        atoms,
        steps=4000,
        timestep=1.0,
        ensemble="npt",
        dynamics=ipi.langevin + ipi.barostat,
        # With all momenta free the kinetic pressure is that of all atoms.
        motion="<fixcom>False</fixcom>",
        bath=f"<pressure>{target * gpa}</pressure>",
    ).start()
    ipi.serve(Address.unix(run.name), atoms, PairPotential(3.2, dtype=torch.float64)).end(timeout=1200)
    found = run.finished().properties()
    found = found[len(found) // 10 :]
    pressure, error = mean_and_standard_error(found[:, 10] / gpa)
    assert error < 0.3
    assert abs(pressure - target) < 3 * error
    assert found[:, 11].std() > 0.01 * found[:, 11].mean()
    # With the heat and work of bath and piston the energy is conserved.
    assert np.ptp(found[:, 1]) < 0.02 * np.ptp(found[:, 2])
