"""Total charge, spin multiplicity and number of electrons of a structure.

``atoms.info`` is read in this one place, so that a charge is either understood or refused, never ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from mlff_core.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.structures.batch import AtomicBatch

CHARGE_NAMES = ("charge", "total_charge", "net_charge")
"""Names of the total charge, e, in ``atoms.info``."""

MULTIPLICITY_NAMES = ("spin_multiplicity", "multiplicity")
"""Names of 2S + 1 in ``atoms.info``."""

SPIN_NAMES = ("spin", "total_spin")
"""Names that mean S, 2S or 2S + 1, depending on the program: zero is a singlet in the first two,
other values are refused."""

STATE_NAMES = (*CHARGE_NAMES, *MULTIPLICITY_NAMES, *SPIN_NAMES)
"""All names of a charge, multiplicity or spin in ``atoms.info``."""

NEARLY_WHOLE = 0.25
"""How far the sum of the atoms' charges, which may be rounded or partial, may be from a whole number, e."""


class ElectronicState(NamedTuple):
    """Total charge, e, and spin multiplicity, 2S + 1; None if the structure does not state it."""

    charge: int | None
    spin_multiplicity: int | None


def electronic_state(atoms: Atoms) -> ElectronicState:
    """Return the charge and multiplicity that a structure states.

    They are read from ``atoms.info`` by the names in ``STATE_NAMES``. Without a charge there, the initial charges of
    the atoms are added up, as other calculators of ASE do.

    Raises
    ------
    InputError
        A value is not a whole number, two values differ, the multiplicity is below 1, or the spin is not zero.
    """
    info = atoms.info
    charge, multiplicity = _agreed(info, CHARGE_NAMES), _agreed(info, MULTIPLICITY_NAMES)
    if multiplicity is not None and multiplicity < 1:
        raise InputError(f"a spin multiplicity is 2S + 1, so at least 1, got {multiplicity}")
    for name in SPIN_NAMES:
        if info.get(name) is None:
            continue
        if (value := _whole(name, info[name])) != 0:
            raise InputError(
                f"atoms.info[{name!r}] = {value} may mean S, 2S or 2S + 1; remove it and set "
                "atoms.info['spin_multiplicity'] to 2S + 1"
            )
        if multiplicity is None:
            multiplicity = 1
        elif multiplicity != 1:
            raise InputError(
                f"atoms.info[{name!r}] = 0 means a singlet, but a spin multiplicity of {multiplicity} is given too; "
                "remove one of them"
            )
    if charge is None and (charges := atoms.arrays.get("initial_charges")) is not None and np.any(charges):
        charge = _added_up(float(np.sum(charges)))
    return ElectronicState(charge, multiplicity)


def _agreed(info: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """Return the whole number that these names agree on; None if none is set."""
    found = {name: _whole(name, info[name]) for name in names if info.get(name) is not None}
    if len(set(found.values())) > 1:
        values = " and ".join(f"{name} = {value}" for name, value in found.items())
        raise InputError(f"atoms.info has {values}, which mean the same; remove the wrong one")
    return next(iter(found.values()), None)


def _whole(name: str, value: Any) -> int:
    try:
        number = float(np.asarray(value).item())
    except (TypeError, ValueError):
        raise InputError(
            f"atoms.info[{name!r}] must be a number, got {value!r}; set it to one, or leave it out"
        ) from None
    if isinstance(value, bool | np.bool_) or not number.is_integer():
        raise InputError(f"{name} must be a whole number, got {value if isinstance(value, bool) else f'{number:g}'}")
    return int(number)


def _added_up(total: float) -> int:
    if not abs(total - np.rint(total)) <= NEARLY_WHOLE:
        raise InputError(
            f"the initial charges of the atoms add up to {total:g} e, which is not a whole number; set the total "
            "charge, atoms.info['charge']"
        )
    return int(np.rint(total))


def odd_system(batch: AtomicBatch) -> tuple[int, int, int] | None:
    """Return (index, number of electrons, charge, e) of the first structure with an odd number of electrons, if any."""
    numbers, charge = batch.atomic_numbers, batch.charge
    if batch.n_systems == 1 and numbers.device.type == "cpu":
        # Adding a list is the cheapest way for the few atoms of a small system.
        total = sum(numbers.tolist())
        e = 0 if charge is None else round(charge.item())
        return (0, total - e, e) if (total - e) % 2 else None
    totals = torch.zeros(batch.n_systems, dtype=torch.int64, device=numbers.device)
    totals.index_add_(0, batch.system_idx, numbers)
    if charge is not None:
        totals -= charge.round().to(torch.int64)
    odd = totals % 2 != 0
    if not bool(odd.any()):
        return None
    k = int(odd.nonzero()[0])
    return k, int(totals[k]), 0 if charge is None else round(charge[k].item())
