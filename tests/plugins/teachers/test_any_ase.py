"""Any ASE calculator by its dotted name."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT

from mlff_core.errors import InputError, MissingDependencyError, PluginError, UnsupportedError
from mlff_core.plugins import host as plugins
from mlff_core.structures.reading import batch_from_atoms

NAME = "ase:ase.calculators.emt.EMT"


def rattled(seed=0):
    atoms = bulk("Cu", cubic=True)
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.1, atoms.positions.shape)
    return atoms


def test_labels_are_the_calculators_own_stress_included():
    batch = batch_from_atoms([rattled(0), rattled(1)], dtype=torch.float64)
    found = plugins.teacher(NAME).load().predict(batch, want=("energy", "forces", "stress"))
    for k in range(2):
        atoms = rattled(k)
        atoms.calc = EMT()
        np.testing.assert_allclose(found.energy[k].item(), atoms.get_potential_energy(), atol=1e-10)
        np.testing.assert_allclose(found.forces[4 * k : 4 * k + 4].numpy(), atoms.get_forces(), atol=1e-10)
        np.testing.assert_allclose(found.stress[k].numpy(), atoms.get_stress(voigt=False), atol=1e-12)


def test_options_are_the_keyword_arguments_of_the_class():
    name, batch = "ase:ase.calculators.lj.LennardJones", batch_from_atoms(rattled(), dtype=torch.float64)
    shallow = plugins.teacher(name).load({"sigma": 2.3, "epsilon": 0.1, "rc": 6.0})
    deep = plugins.teacher(name).load({"sigma": 2.3, "epsilon": 0.2, "rc": 6.0})
    assert shallow.card.teacher["settings"] == {"sigma": 2.3, "epsilon": 0.1, "rc": 6.0}
    torch.testing.assert_close(2 * shallow.predict(batch).energy, deep.predict(batch).energy)


def test_an_argument_that_the_class_does_not_have_is_refused_even_behind_kwargs():
    with pytest.raises(InputError, match="epsilom"):
        plugins.teacher("ase:ase.calculators.lj.LennardJones").load({"epsilom": 0.1})


def test_the_name_and_licence_of_the_package_are_on_the_card():
    lineage = plugins.teacher(NAME).load().card.teacher
    assert lineage["name"] == NAME
    assert lineage["package"] == "ase"
    assert "LGPL" in lineage["licence"]


def test_what_the_calculator_refuses_is_one_line_of_ours():
    atoms = rattled()
    atoms.numbers[0] = 92
    with pytest.raises(UnsupportedError, match=r"Cu3U.*EMT"):
        plugins.teacher(NAME).load().predict(batch_from_atoms(atoms))


def test_a_module_that_is_not_installed_gives_the_line_that_installs_it():
    with pytest.raises(MissingDependencyError, match="pip install nobody_has_this"):
        plugins.teacher("ase:nobody_has_this.calculator.Magic").load()


@pytest.mark.parametrize("name", ["ase:ase.calculators.emt.EMTT", "ase:math.sqrt", "ase:EMT", "ase:"])
def test_a_name_that_is_no_calculator_says_what_was_wanted(name):
    with pytest.raises(InputError, match=r"did you mean|wanted"):
        plugins.teacher(name).load()


def test_an_unknown_teacher_still_names_those_there_are():
    with pytest.raises(PluginError, match=r"ase:module\.Class.*so3lr"):
        plugins.teacher("asse:ase.calculators.emt.EMT")


def test_two_members_of_the_family_do_not_share_a_name():
    emt, lennard_jones = plugins.teacher(NAME), plugins.teacher("ase:ase.calculators.lj.LennardJones")
    assert (emt.name, lennard_jones.name) == (NAME, "ase:ase.calculators.lj.LennardJones")
    assert "ase:module.Class" in {row.name for row in plugins.host().rows()}


def test_the_factory_of_a_worker_process_can_be_pickled():
    factory = pickle.loads(pickle.dumps(functools.partial(plugins.teacher(NAME).load, {})))
    assert factory().card.name == NAME
