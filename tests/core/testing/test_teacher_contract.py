"""The contract fails on deliberately wrong teachers, each in the test for its fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from mlff_core.card import ModelCard
from mlff_core.errors import MissingDependencyError
from mlff_core.plugins.teacher import Teacher
from mlff_core.potentials.interface import Potential
from mlff_core.structures.prediction import Prediction
from mlff_core.testing.reference_potential import PairPotential
from mlff_core.testing.runner import run_contract
from mlff_core.testing.teacher_contract import TeacherContract
from mlff_core.units import EV_PER_HARTREE

Spoil = Callable[["_Pairs", Any, Prediction], Prediction]


class _Pairs(Potential):
    """The analytic pair potential of a teacher, with optional faults in its predictions."""

    supports = frozenset({"energy", "forces", "stress"})

    def __init__(self, card: ModelCard, spoil: Spoil | None) -> None:
        self.pairs = PairPotential(dtype=torch.float64)
        self.card, self.device, self.dtype = card, self.pairs.device, torch.float64
        self.spoil, self.n_calls = spoil, 0

    def predict_checked(self, batch, want, edges=None):
        self.n_calls += 1
        found = self.pairs.predict_checked(batch, want, edges)
        return found if self.spoil is None else self.spoil(self, batch, found)


class PairTeacher(Teacher):
    name = "pairs"
    summary = "an analytic pair potential"
    package = "mlff-hub"
    method = "pairs"
    licence = "MIT"
    gives = frozenset({"energy", "forces", "stress"})
    requires = ("numpy",)
    install_hint = "pip install numpy"

    def __init__(self, spoil: Spoil | None = None) -> None:
        self.spoil = spoil

    def load(self, options=None):
        self.checked_options(options)
        self.ensure_installed()
        teacher = self.lineage(settings={})
        card = dataclasses.replace(PairPotential().card, teacher=teacher, licence=self.licence, n_parameters=0)
        return _Pairs(card, self.spoil)


def reversed_forces(potential, batch, found):
    return dataclasses.replace(found, forces=None if found.forces is None else -found.forces)


def hartree(potential, batch, found):
    return dataclasses.replace(
        found,
        energy=found.energy / EV_PER_HARTREE,
        forces=None if found.forces is None else found.forces / EV_PER_HARTREE,
        stress=None if found.stress is None else found.stress / EV_PER_HARTREE,
    )


def noise(potential, batch, found):
    if found.forces is None:
        return found
    random = np.random.RandomState(potential.n_calls)
    return dataclasses.replace(
        found, forces=found.forces + torch.from_numpy(random.normal(scale=1e-3, size=found.forces.shape))
    )


def pressure(potential, batch, found):
    return dataclasses.replace(found, stress=None if found.stress is None else -found.stress)


def talk(potential, batch, found):
    print("step 1 of 1")  # noqa: T201 - what is tested
    return found


def dice(potential, batch, found):
    torch.rand(1)
    return found


def scribble(potential, batch, found):
    batch.positions.add_(1e-3)
    return found


def first_only(potential, batch, found):
    return dataclasses.replace(found, energy=found.energy[:1].expand(batch.n_systems))


def along_x(potential, batch, found):
    return dataclasses.replace(found, energy=found.energy + batch.positions[0, 0].double())


def handed(potential, batch, found):
    """Add to molecules an energy that turns its sign in the mirror and obeys every other law, with its forces."""
    with torch.inference_mode(False), torch.enable_grad():
        positions = batch.positions.detach().double().clone().requires_grad_()
        energies = []
        for k in range(batch.n_systems):
            arms = positions[batch.system_idx == k]
            arms = arms - arms.mean(dim=0)
            a, b, c = ((arms.square().sum(dim=1, keepdim=True) ** p * arms).sum(dim=0) for p in (1, 2, 3))
            # Zero for a planar molecule.
            size = 0.0 if bool(batch.pbc[k].any()) else 1e-4
            energies.append(size * torch.dot(a, torch.linalg.cross(b, c)))
        (slope,) = torch.autograd.grad(sum(energies), positions)
    extra = torch.stack(energies).detach()
    forces = None if found.forces is None else found.forces - slope
    return dataclasses.replace(found, energy=found.energy + extra, forces=forces)


class Handed(PairTeacher):
    def load(self, options=None):
        potential = super().load(options)
        teacher = {**potential.card.teacher, "settings": {"mirror_symmetric": False}}
        potential.card = dataclasses.replace(potential.card, teacher=teacher)
        return potential


class Sloppy(PairTeacher):
    def load(self, options=None):
        return super().load({})


class Absent(PairTeacher):
    def load(self, options=None):
        if self.missing():
            raise MissingDependencyError("something is not there")
        return super().load(options)


class Anonymous(PairTeacher):
    licence = ""


class Unchecked(PairTeacher):
    def load(self, options=None):
        potential = super().load(options)
        potential.predict = lambda batch, **_: potential.predict_checked(batch, {"energy", "forces"}, None)
        return potential


def contract_of(teacher: Teacher) -> type[TeacherContract]:
    class Contract(TeacherContract):
        force_tolerance: ClassVar[float] = 1e-6
        # A class of a test module cannot be imported by a worker.
        test_a_worker_process_gives_the_same_labels_and_is_left_as_it_was = None

        def bond(self):
            # The pair potential's own stiffness, since it is no molecule's.
            atoms = super().bond()[0]
            return atoms, 0, 1, stiffness(PairTeacher().load(), atoms)

    Contract.teacher = teacher
    return Contract


def stiffness(potential, atoms):
    from mlff_core.testing.structures import to_batch

    frames = [atoms.copy() for _ in range(3)]
    for frame, step in zip(frames, (-0.05, 0.0, 0.05), strict=True):
        frame.positions[1, 0] += step
    energy = potential.predict(to_batch(frames)).energy
    return float(energy[0] - 2 * energy[1] + energy[2]) / 0.05**2


def test_a_right_teacher_passes():
    results = run_contract(contract_of(PairTeacher()))
    assert len(results) >= 15
    assert [result for result in results if result.status == "failed"] == []


def test_a_teacher_that_knows_left_from_right_passes_if_its_card_says_so():
    results = run_contract(contract_of(Handed(handed)))
    assert [result for result in results if result.status == "failed"] == []


@pytest.mark.parametrize(
    ("teacher", "test"),
    [
        (PairTeacher(reversed_forces), "forces are minus the energy gradient"),
        (PairTeacher(hartree), "a bond has the experimental stiffness"),
        (PairTeacher(noise), "labels are reproducible"),
        (PairTeacher(pressure), "stress is the strain derivative"),
        (PairTeacher(talk), "inputs and settings are left alone and nothing is printed"),
        (PairTeacher(dice), "inputs and settings are left alone and nothing is printed"),
        (PairTeacher(scribble), "inputs and settings are left alone and nothing is printed"),
        (PairTeacher(first_only), "batch equals singles"),
        (PairTeacher(along_x), "labels do not depend on place orientation or order"),
        (PairTeacher(handed), "labels do not depend on place orientation or order"),
        (Sloppy(), "an unknown option is refused"),
        (Absent(), "a missing package gives the line that installs it"),
        (Anonymous(), "the card is complete"),
        (Unchecked(), "bad input is refused before the engine is called"),
    ],
    ids=lambda value: None if isinstance(value, str) else getattr(value.spoil, "__name__", type(value).__name__),
)
def test_a_wrong_teacher_fails_where_it_is_wrong(teacher, test):
    with pytest.raises(AssertionError):
        getattr(contract_of(teacher)(), f"test_{test.replace(' ', '_')}")()
