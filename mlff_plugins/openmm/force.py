"""``create_force``: a model as a force of OpenMM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import openmm.app

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.models.opening import opened
from mlff_core.potentials.checks import check_elements
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_plugins.openmm.force_module import DEFAULT_SKIN, force_module
from mlff_plugins.openmm.requirements import missing_torchforce, require_torchforce

if TYPE_CHECKING:
    import openmm

BACKENDS = ("auto", "torchforce", "pythonforce")


def create_force(
    model: str | Path | Potential,
    topology_or_atomic_numbers: openmm.app.Topology | Sequence[int],
    *,
    atoms: Iterable[int] | None = None,
    backend: str = "auto",
    periodic: bool | None = None,
    charge: float | None = None,
    spin_multiplicity: int | None = None,
    skin: float = DEFAULT_SKIN,
) -> openmm.Force:
    """Return a force that adds the model's energy to a System.

    Parameters
    ----------
    model
        A name (``mlff models list``), the path of a model file, or a potential, which keeps its device and precision.
    topology_or_atomic_numbers
        All particles of the System, as an OpenMM Topology or their atomic numbers.
    atoms
        Indices of the particles that the model describes (without interactions to others); None for all.
    backend
        ``"torchforce"`` (students only), ``"pythonforce"`` (any potential, with its fast kernels), or ``"auto"``:
        :func:`choose_backend`.
    periodic
        Whether the model is periodic; None means periodic if the Topology has a box.
    charge
        Total charge of the atoms, e; None means neutral.
    spin_multiplicity
        2S + 1; None means singlet.
    skin
        Å; the neighbour list is rebuilt when an atom has moved by half of it. The results do not depend on it.

    Raises
    ------
    InputError
        An unknown backend, no atoms, or atoms that do not exist or have no element.
    UnsupportedError
        The model does not support an element, the charge or the multiplicity; or a TorchForce is requested for a
        potential that is not a student.
    MissingDependencyError
        The backend's package is not installed.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if not skin >= 0:
        raise InputError(f"skin must not be negative, in Å, got {skin}")
    potential = opened(model)
    numbers, particles = ml_particles(topology_or_atomic_numbers, atoms)
    check_elements(potential.card, numbers)
    check_charge(potential, charge, spin_multiplicity)
    if periodic is None:
        periodic = (
            isinstance(topology_or_atomic_numbers, openmm.app.Topology)
            and topology_or_atomic_numbers.getPeriodicBoxVectors() is not None
        )
    if backend == "auto":
        backend = choose_backend(potential)
    if backend == "torchforce":
        require_torchforce()
        from mlff_plugins.openmm.torch_force import torch_force

        force: openmm.Force = torch_force(force_module(potential, numbers, particles, periodic, skin), periodic)
        return force
    from mlff_plugins.openmm.python_force import PotentialFunction, python_force

    function = PotentialFunction(potential, numbers, periodic, charge, spin_multiplicity, skin)
    return python_force(function, periodic, particles)


def choose_backend(potential: Potential) -> str:
    """Return the backend of ``"auto"``: ``"torchforce"`` for students if it is installed, else ``"pythonforce"``.

    A student with a fast kernel also uses ``"pythonforce"``, since TorchScript cannot run that kernel.
    """
    inner = potential.potential if isinstance(potential, VerletPotential) else potential
    in_torchscript = isinstance(inner, StudentPotential) and inner.kernel.name == "reference"
    return "torchforce" if in_torchscript and not missing_torchforce() else "pythonforce"


def ml_particles(
    topology_or_atomic_numbers: openmm.app.Topology | Sequence[int], atoms: Iterable[int] | None
) -> tuple[list[int], list[int] | None]:
    """Return (atomic numbers of the atoms that the model describes, their indices or None for all).

    Raises
    ------
    InputError
        There are no atoms, an index is repeated or out of range, or a particle has no element.
    """
    if isinstance(topology_or_atomic_numbers, openmm.app.Topology):
        elements = [atom.element for atom in topology_or_atomic_numbers.atoms()]
        numbers = [0 if element is None else int(element.atomic_number) for element in elements]
    else:
        numbers = [int(z) for z in topology_or_atomic_numbers]
    particles = None if atoms is None else [int(index) for index in atoms]
    if particles is not None:
        outside = sorted(index for index in particles if not 0 <= index < len(numbers))
        if outside or len(set(particles)) != len(particles):
            raise InputError(
                f"atoms must be different indices of 0–{len(numbers) - 1}, got {outside or 'an index twice'}"
            )
        numbers = [numbers[index] for index in particles]
    if not numbers:
        raise InputError("no atoms were given for the model; at least one is needed")
    if 0 in numbers:
        which = numbers.index(0)
        raise InputError(
            f"particle {which if particles is None else particles[which]} has no element, so no model describes it; "
            "leave virtual sites out of atoms"
        )
    return numbers, particles


def check_charge(potential: Potential, charge: float | None, spin_multiplicity: int | None) -> None:
    """Refuse a charge or multiplicity that the card does not allow.

    Raises
    ------
    UnsupportedError
        The value is not allowed; the message gives it and the allowed ones.
    """
    card = potential.card
    if charge and card.charges == "neutral":
        raise UnsupportedError(
            f"{card.name} was made for neutral systems, but the total charge is {charge:+g} e; "
            "use a model that takes charges, or a neutral structure"
        )
    if spin_multiplicity not in (None, 1) and card.spin_multiplicities == "singlet":
        raise UnsupportedError(
            f"{card.name} was made for singlets, but the spin multiplicity is {spin_multiplicity}; "
            "use a model that takes other multiplicities, or a closed-shell structure"
        )
