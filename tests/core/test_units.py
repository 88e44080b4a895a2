"""The factors are CODATA's."""

import pytest
from scipy import constants

from mlff_core import units

EV = constants.e
CODATA = {
    "EV_PER_HARTREE": constants.physical_constants["Hartree energy in eV"][0],
    "ANGSTROM_PER_BOHR": constants.physical_constants["Bohr radius"][0] * 1e10,
    "KJ_MOL_PER_EV": EV * constants.N_A / 1e3,
    "KCAL_MOL_PER_EV": EV * constants.N_A / 1e3 / 4.184,
    "ANGSTROM_PER_NM": constants.nano / constants.angstrom,
    "EV_PER_KELVIN": constants.k / EV,
    "GPA_PER_EV_PER_ANGSTROM3": EV / constants.angstrom**3 / 1e9,
    "BAR_PER_EV_PER_ANGSTROM3": EV / constants.angstrom**3 / constants.bar,
    "J_M2_PER_EV_PER_ANGSTROM2": EV / constants.angstrom**2,
    "FS_PER_TIME_UNIT": (constants.atomic_mass / EV) ** 0.5 * constants.angstrom / constants.femto,
    "COULOMB_EV_ANGSTROM": EV / (4 * constants.pi * constants.epsilon_0) / constants.angstrom,
}


@pytest.mark.parametrize("name", sorted(CODATA))
def test_a_factor_is_codatas(name):
    # 2e-9 is how far CODATA 2018 and 2022 are apart at most here, so that either year's table will do.
    assert getattr(units, name) == pytest.approx(CODATA[name], rel=2e-9)


def test_no_factor_is_without_a_check():
    assert {name for name in vars(units) if name.isupper()} == set(CODATA)
