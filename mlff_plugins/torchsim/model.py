"""A model as torch-sim's ``ModelInterface``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch_sim
from torch import Tensor
from torch_sim.integrators.md import MDState
from torch_sim.models.interface import ModelInterface

from mlff_core.models.opening import opened
from mlff_core.potentials.interface import CHARGES, Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_plugins.torchsim.convert import from_prediction, to_batch

DEFAULT_SKIN = 1.0
"""Å."""


class TorchSimModel(ModelInterface):
    """A torch-sim model with a trained model: energies, forces and stresses of all systems of a state at once.

    The energy is float64 in every precision. The stress of a state that is not periodic is NaN.

    Parameters
    ----------
    model
        A name (``mlff models list``), the path of a model file, or a potential.
    device, dtype, kernel
        As in :func:`mlff_core.load`; a potential keeps its own. States must have the same device and dtype.
    skin
        Å; the neighbour list is rebuilt when any atom has moved by half of it. The results do not depend on it.

    Raises
    ------
    CheckpointError, InputError
        As :func:`mlff_core.load`.
    """

    def __init__(
        self,
        model: str | Path | Potential,
        *,
        device: str = "auto",
        dtype: str = "float32",
        skin: float = DEFAULT_SKIN,
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        potential = opened(model, device=device, dtype=dtype, kernel=kernel)
        self.potential = potential
        self._running = VerletPotential(potential, skin)
        self._device = potential.device
        self._dtype = potential.dtype
        self._compute_forces = "forces" in potential.supports
        self._compute_stress = "stress" in potential.supports
        self._compute_charges = False

    @property
    def n_searches(self) -> int:
        """Number of neighbour searches so far."""
        return self._running.n_searches

    @property
    def compute_forces(self) -> bool:
        """Whether forces are returned."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, wanted: bool) -> None:
        self._compute_forces = self._offered("forces", wanted)

    @property
    def compute_stress(self) -> bool:
        """Whether the stress is returned."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, wanted: bool) -> None:
        self._compute_stress = self._offered("stress", wanted)

    @property
    def compute_charges(self) -> bool:
        """Whether charges and dipoles are returned; False until it is set, because no integrator needs them."""
        return self._compute_charges

    @compute_charges.setter
    def compute_charges(self, wanted: bool) -> None:
        self._compute_charges = self._offered("charges", wanted)

    def _offered(self, name: str, wanted: bool) -> bool:
        if wanted and name not in self.potential.supports:
            # torch-sim expects this exception class for an unsupported property.
            raise NotImplementedError(f"{self.potential.card.name} cannot give {name}")
        return wanted

    def forward(self, state: torch_sim.SimState | Mapping[str, Any], **_: Any) -> dict[str, Tensor]:
        """Return ``energy`` (n_systems,), eV, ``forces`` (n_atoms, 3), eV/Å, and ``stress`` (n_systems, 3, 3), eV/Å³.

        A student with a readout of charges gives ``charges`` (n_atoms,), e, and of states that are not periodic
        ``dipole`` (n_systems, 3), e·Å, about the centre of mass, according to ``compute_charges``.

        The stress is positive under tension. Forces and stress are returned according to ``compute_forces`` and
        ``compute_stress``.

        Raises
        ------
        InputError
            Positions that are not finite, overlapping atoms, no atoms, or a periodic state without a volume.
        UnsupportedError
            The model does not support an element or a charge.
        """
        batch = to_batch(state)
        periodic = bool(batch.pbc.any())
        want = {"energy"}
        if self._compute_forces:
            want.add("forces")
        if self._compute_stress and periodic:
            want.add("stress")
        if self.compute_charges:
            # The dipole of a cell is not defined.
            want |= CHARGES - ({"dipole"} if periodic else set())
        prediction = self._running.predict(batch, want=want, dynamics=isinstance(state, MDState))
        if self._compute_stress and not periodic:
            prediction = replace(prediction, stress=torch.full_like(batch.cell, torch.nan))
        return from_prediction(prediction)
