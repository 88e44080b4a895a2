"""Crystals judged with a calculator of ASE: effective medium theory, whose copper is published."""

import pytest

from mlff_core.judging.crystals.experiment import element
from mlff_core.judging.crystals.properties import judge_crystal
from mlff_core.plugins.host import teacher


def test_copper_of_effective_medium_theory():
    """K. W. Jacobsen, P. Stoltze, J. K. Nørskov, Surf. Sci. 366, 394 (1996): fitted to the measured crystal."""
    report = judge_crystal(teacher("ase:ase.calculators.emt.EMT").load({}), element("Cu"))
    assert not report.skipped
    found, measured = report.values, element("Cu").measured
    assert found["lattice_constant"] == pytest.approx(3.59, abs=0.01)
    assert found["bulk_modulus"] == pytest.approx(measured["bulk_modulus"], rel=0.05)
    assert found["c11"] == pytest.approx(measured["c11"], rel=0.1)
    assert found["c44"] == pytest.approx(measured["c44"], rel=0.25)
    assert found["vacancy"] == pytest.approx(measured["vacancy"], abs=0.3)
    # Close packing is the most stable, and its densest plane the cheapest to cut.
    assert found["bcc"] > 0
    assert found["surface_111"] < found["surface_100"] < found["surface_110"]
    assert found["phonon_lowest"] > 0
    assert found["phonon_x_transverse"] < found["phonon_x_longitudinal"] < 9
