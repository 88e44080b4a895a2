"""The exporter ``openmm``: a file that a script opens with ``openmmtorch.TorchForce``, without this package."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.plugins.exporter import Exporter, ExportReport

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.potentials.interface import Potential

CARD = "mlff_card.json"
"""Name of the extra file in the archive that holds card, precision, species and periodicity."""


class OpenMMExporter(Exporter):
    """Writes a student for one list of atoms as the TorchScript module of a ``TorchForce``.

    Options of :meth:`export`: ``"structure"``, a file with the atoms in the order of the System, and with a cell if
    the simulation is periodic; ``"skin"``, Å, of the neighbour list; ``"operator"``, ``"portable"`` for torch's own
    operations, or ``"fused"`` for the CPU kernel as one operator, whose library must be loaded before the file.
    """

    name = "openmm"
    summary = "TorchForce module: positions in nm in, kJ/mol out; species, units and neighbours inside"
    requires = ("torch",)
    install_hint = "pip install torch"
    suffix = ".pt"
    needs_structure = True
    has_operator = True

    def export(self, potential: Potential, path: Path, options: Mapping[str, Any] | None = None) -> ExportReport:
        """Write ``potential`` to ``path``; see :meth:`mlff_core.plugins.exporter.Exporter.export`."""
        self.ensure_installed()
        from dataclasses import replace

        import torch

        from mlff_core.export.operators import PORTABLE, details_of, is_fused
        from mlff_core.export.writing import deprecation_silenced, edge_graph, save_script, write_checked
        from mlff_core.potentials.checks import check_elements
        from mlff_core.structures.reading import batch_from_atoms, read_structures
        from mlff_plugins.openmm.force_module import DEFAULT_SKIN, force_module

        given = self.read_options(options, structure=None, skin=DEFAULT_SKIN, operator=PORTABLE)
        structure, skin, fused = given["structure"], given["skin"], is_fused(given["operator"])
        edge_graph(potential)
        if structure is None:
            raise InputError("the file contains the atoms, so it needs a structure; give one with --structure FILE")
        atoms = read_structures(structure, "0")[0]
        if atoms.pbc.any() != atoms.pbc.all():
            raise UnsupportedError(
                f"OpenMM supports structures that are periodic along all lattice vectors or none; {structure} has "
                f"pbc {atoms.pbc.tolist()}"
            )
        check_elements(potential.card, atoms.numbers.tolist())
        potential.check(batch_from_atoms(atoms, dtype=torch.float64))
        periodic = bool(atoms.pbc.all())
        content = json.dumps(
            {
                "card": potential.card.to_dict(),
                "dtype": str(potential.dtype).removeprefix("torch."),
                "atomic_numbers": atoms.numbers.tolist(),
                "periodic": periodic,
                **details_of(fused),
            }
        )

        def write(temporary: Path) -> None:
            module = force_module(potential, atoms.numbers.tolist(), None, periodic, skin, fused=fused)
            save_script(module, temporary, {CARD: content})

        def reopen(temporary: Path) -> Potential:
            with deprecation_silenced():
                module = torch.jit.load(str(temporary), map_location="cpu")
            return _opened(module, potential)

        batches = [batch_from_atoms(moved, dtype=potential.dtype) for moved in nearby(atoms)]
        report = write_checked(self.name, potential, path, write, reopen, batches)
        calls = f'openmmtorch.TorchForce("{report.path.name}")'
        if periodic:
            calls += ", then force.setUsesPeriodicBoundaryConditions(True)"
        details = {"atoms": len(atoms), "periodic": periodic, "load with": calls, **details_of(fused)}
        return replace(report, details=details)


def nearby(atoms: Atoms) -> list[Atoms]:
    """Return the structure and copies with small and large displacements, and shifts by lattice vectors if periodic."""
    frames = [atoms]
    for seed, size in enumerate((0.02, 0.08)):
        frames.append(atoms.copy())
        frames[-1].rattle(size, seed=seed)
    if atoms.pbc.all():
        frames.append(frames[1].copy())
        frames[-1].positions[::2] += atoms.cell[0] - 2 * atoms.cell[2]
    frames.append(atoms.copy())
    frames[-1].positions += [1.5, -2.0, 0.5]
    return frames


def _opened(module: Any, original: Potential) -> Potential:
    import torch

    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch, split
    from mlff_core.structures.neighbors import EdgeList
    from mlff_core.structures.prediction import Prediction
    from mlff_core.units import ANGSTROM_PER_NM
    from mlff_plugins.openmm.convert import ENERGY, FORCE

    class Opened(Potential):
        """The file, called like OpenMM calls it: nm in, kJ/mol out, forces from the gradient of the energy."""

        card, dtype, device = original.card, original.dtype, torch.device("cpu")

        def predict_checked(
            self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None
        ) -> Prediction:
            energies, forces = [], []
            for structure in split(batch):
                positions_nm = (structure.positions.double() / ANGSTROM_PER_NM).requires_grad_()
                box = [structure.cell[0].double() / ANGSTROM_PER_NM] if bool(structure.pbc.all()) else []
                energy = module(positions_nm, *box)
                energy.backward()
                energies.append(energy.detach() / ENERGY)
                assert positions_nm.grad is not None
                forces.append(-positions_nm.grad / FORCE)
            return Prediction(energy=torch.stack(energies), forces=torch.cat(forces))

    return Opened()
