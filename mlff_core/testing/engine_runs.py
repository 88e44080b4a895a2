"""Runs of an engine with each reference model, compared with that model; the base of the engine contract's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar
from unittest import SkipTest

import torch
from ase import Atoms

from mlff_core.errors import MlffError
from mlff_core.plugins.engine import Engine
from mlff_core.plugins.through_engine import ThroughEngine
from mlff_core.potentials.interface import Potential
from mlff_core.testing import potential_checks, structures
from mlff_core.testing.reference_potential import PairPotential, small_student
from mlff_core.testing.structures import to_batch
from mlff_core.testing.tolerances import assert_prediction_close
from mlff_core.tolerance import Tolerance

MAKERS: dict[str, Callable[..., Potential]] = {"pair": PairPotential, "student": small_student}
"""The reference models by the names of :attr:`EngineRuns.potentials`."""


class EngineRuns:
    """The runs of one engine; :class:`~mlff_core.testing.engine_contract.EngineContract` describes the attributes."""

    engine: ClassVar[Engine]
    options: ClassVar[Mapping[str, Any]] = {}
    potentials: ClassVar[tuple[str, ...] | None] = None
    device: ClassVar[str] = "cpu"

    def _potentials(self) -> tuple[str, ...]:
        if self.potentials is not None:
            return self.potentials
        return ("student",) if self.engine.students_only else ("pair", "student")

    def _models(
        self, dtypes: tuple[torch.dtype, ...] | None = None, *, closed_shell: bool = False
    ) -> Iterator[ThroughEngine]:
        """Yield the engine with each model in each precision that it takes; each is closed before the next.

        With ``closed_shell`` the cards of the models allow closed shells only.
        """
        if dtypes is None:
            double = (torch.float64,) if "float64" in self.engine.capabilities else ()
            dtypes = (torch.float32, *double)
        for dtype in dtypes:
            for name in self._potentials():
                potential = MAKERS[name](dtype=dtype, device=self.device)
                if closed_shell:
                    potential.card = replace(potential.card, spin_multiplicities="closed shell")
                with ThroughEngine(self.engine, potential, self.options) as bound:
                    yield bound

    def _needs(self, capability: str) -> None:
        if capability not in self.engine.capabilities:
            raise SkipTest(f"{self.engine.name} does not offer {capability!r}")

    def _molecule_and_crystal(self) -> list[Atoms]:
        molecule = [structures.ethanol()]
        return [*molecule, structures.triclinic_crystal()] if "periodic" in self.engine.capabilities else molecule

    def _invariance(self, bound: ThroughEngine) -> Tolerance:
        """Return the tolerance for comparing two evaluations, each with its own deviation from ``predict``."""
        return potential_checks.invariance_tolerance(bound).looser(bound.tolerance.scaled(2.0))

    def _equals_predict(self, atoms: Atoms) -> None:
        self._each_equals_predict([atoms])

    def _each_equals_predict(self, frames: list[Atoms]) -> None:
        """Check frames one after the other with one bound object."""
        for bound in self._models():
            for k, atoms in enumerate(frames):
                batch = to_batch(atoms)
                what = f"{bound.card.name}, {str(bound.dtype).removeprefix('torch.')}, call {k + 1}"
                found, wanted = bound.predict(batch), bound.wanted(batch)
                for quantity in ("forces", "stress", "atom_energies"):
                    if getattr(wanted, quantity) is not None and getattr(found, quantity) is None:
                        raise AssertionError(f"{what}: {quantity} is a capability, but None was returned")
                if found.energy.dtype != torch.float64:
                    raise AssertionError(f"{what}: the energy must be float64, got {found.energy.dtype}")
                assert_prediction_close(found, wanted, batch, bound.tolerance, what)

    def _refused_bound_and_running(
        self,
        bad: Atoms,
        phrases: tuple[str, ...],
        wanted: type[MlffError],
        *,
        verbatim: bool = False,
        closed_shell: bool = False,
        approach: Sequence[Atoms] = (),
    ) -> None:
        """Check that ``bad`` is refused with one of ``phrases``, or with the model's whole message if ``verbatim``.

        At run time it comes after a good structure and those of ``approach``.
        """
        good = structures.ethanol()
        for bound in self._models(dtypes=(torch.float32,), closed_shell=closed_shell):
            what = f"{bound.card.name}: {phrases[0]!r}"
            expected = phrases
            if verbatim:
                expected = (
                    str(self._refused(f"{what} by predict", partial(bound.potential.predict, to_batch(bad)), phrases)),
                )
            fresh = ThroughEngine(self.engine, bound.potential, self.options)
            with fresh:
                error = self._refused(f"{what} when bound", partial(fresh.bind, to_batch(bad)), expected)
            if not isinstance(error, wanted):
                raise AssertionError(
                    f"{what} when bound: wanted {wanted.__name__}, got {type(error).__name__}: {error}"
                )
            for atoms in (good, *approach):
                bound.predict(to_batch(atoms))
            self._refused(f"{what} at run time", partial(bound.predict, to_batch(bad)), expected)
            batch = to_batch(good)
            assert_prediction_close(
                bound.predict(batch), bound.wanted(batch), batch, bound.tolerance, f"{what}, the next good structure"
            )

    def _refused(self, what: str, action: Callable[[], Any], phrases: tuple[str, ...]) -> Exception:
        """Return the exception of ``action``; its message must contain one of ``phrases``."""
        try:
            action()
        except Exception as error:
            if not any(phrase.lower() in str(error).lower() for phrase in phrases):
                raise AssertionError(
                    f"{what}: the message must contain {' or '.join(map(repr, phrases))}, "
                    f"got {type(error).__name__}: {error}"
                ) from error
            return error
        raise AssertionError(f"{what}: nothing was raised")
