"""``create_force``: a model as a force of OpenMM."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import openmm.app

from mlff_core.errors import InputError
from mlff_core.kernels.build import BuildError
from mlff_core.kernels.operator_library import load_operators
from mlff_core.models.opening import opened
from mlff_core.potentials.checks import check_atoms
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.student import StudentPotential
from mlff_core.potentials.verlet import VerletPotential
from mlff_plugins.openmm.force_module import DEFAULT_SKIN, force_module
from mlff_plugins.openmm.requirements import missing_torchforce, require_torchforce

if TYPE_CHECKING:
    import openmm

logger = logging.getLogger("mlff_plugins.openmm")

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
        ``"torchforce"`` (students only; it runs the CPU kernel where the potential does), ``"pythonforce"`` (any
        potential, with its fast kernels), or ``"auto"``: :func:`choose_backend`.
    periodic
        Whether the model is periodic; None means periodic if the Topology has a box.
    charge
        Total charge of the atoms, e; None means the sum of the formal charges that the Topology has, else neutral.
    spin_multiplicity
        2S + 1; None means singlet.
    skin
        Å; the neighbour list is rebuilt when an atom has moved by half of it. The results do not depend on it.

    Raises
    ------
    InputError
        The backend is unknown, atoms do not exist or have no element, there are no atoms, or the charge differs from
        the Topology's.
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
    charge = total_charge(topology_or_atomic_numbers, particles, charge)
    check_atoms(potential.card, numbers, charge, spin_multiplicity)
    if periodic is None:
        periodic = is_periodic(topology_or_atomic_numbers)
    if backend == "auto":
        backend = choose_backend(potential)
    if backend == "torchforce":
        require_torchforce()
        from mlff_plugins.openmm.torch_force import torch_force

        fused = runs_fused(potential)
        module = force_module(potential, numbers, particles, periodic, skin, fused=fused)
        force: openmm.Force = torch_force(module, periodic)
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


def runs_fused(potential: Potential) -> bool:
    """Return whether a ``TorchForce`` of this potential runs the CPU kernel: if the potential does.

    A log entry says why where the library of operators cannot be built.
    """
    inner = potential.potential if isinstance(potential, VerletPotential) else potential
    if not isinstance(inner, StudentPotential) or inner.kernel.name != "cpu":
        return False
    try:
        load_operators()
    except BuildError as error:
        logger.warning("TorchForce runs torch's graph, many times slower than the CPU kernel: %s", error)
        return False
    return True


def is_periodic(topology_or_atomic_numbers: openmm.app.Topology | Sequence[int]) -> bool:
    """Return whether there is a Topology and it has a box."""
    return (
        isinstance(topology_or_atomic_numbers, openmm.app.Topology)
        and topology_or_atomic_numbers.getPeriodicBoxVectors() is not None
    )


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


def total_charge(
    topology_or_atomic_numbers: openmm.app.Topology | Sequence[int],
    particles: Sequence[int] | None,
    charge: float | None,
) -> float | None:
    """Return the total charge of the chosen atoms, e: the given one, or the sum of the Topology's formal charges.

    Atoms without a formal charge count as neutral. None if neither is given; Topologies have formal charges
    since OpenMM 8.2.

    Raises
    ------
    InputError
        The two differ.
    """
    if not isinstance(topology_or_atomic_numbers, openmm.app.Topology):
        return charge
    atoms = list(topology_or_atomic_numbers.atoms())
    chosen = atoms if particles is None else [atoms[index] for index in particles]
    formal = [given for atom in chosen if (given := getattr(atom, "formalCharge", None)) is not None]
    if not formal:
        return charge
    total = sum(int(value) for value in formal)
    if charge is not None and charge != total:
        raise InputError(
            f"charge = {charge:+g} e was given, but the formal charges of the topology's atoms add up to {total:+d} e; "
            "correct one of them (atom.formalCharge), or leave charge out"
        )
    return total
