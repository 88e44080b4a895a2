"""The certificate that all engines give the same numbers: one set of structures through everything installed."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from ase import Atoms

from mlff_core.errors import InputError, MissingDependencyError, MlffError, UnsupportedError
from mlff_core.export.parity_report import ParityReport, ParityRow, compared_row, versions_of
from mlff_core.export.writing import for_card
from mlff_core.plugins.engine import Engine
from mlff_core.plugins.exporter import Exporter, Variant
from mlff_core.plugins.host import PluginHost
from mlff_core.plugins.runtime import Runtime
from mlff_core.plugins.through_engine import ThroughEngine
from mlff_core.potentials.interface import Potential
from mlff_core.structures.examples import all_structures, ethanol
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.tolerance import Tolerance

HUNDREDTH = "ethanol, hundredth call"
N_TIMED = 5


def certify(
    potential: Potential,
    host: PluginHost,
    *,
    sha256: str = "",
    only: Sequence[str] = (),
    on_row: Callable[[ParityRow], None] | None = None,
) -> ParityReport:
    """Return the comparison of every engine, runtime and export of the host with ``predict`` on one set of structures.

    Parameters
    ----------
    potential
        The model; all results are compared with its own ``predict``.
    host
        The plugin host whose engines, runtimes and exporters are compared.
    sha256
        Hash of the model file, for the report.
    only
        Names of engines and runtimes to include; all if empty.
    on_row
        Called with each row when it is ready.

    Raises
    ------
    InputError
        A name in ``only`` is neither an engine nor a runtime.
    """
    entrants = [*_engines(host), *_files(host)]
    names = [entrant.name for entrant in entrants]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise InputError(f"no engine or runtime is called {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = [entrant for entrant in entrants if not only or entrant.name in only]
    rows = []
    for entrant in chosen:
        for row in _rows_of(entrant, potential):
            rows.append(row)
            if on_row is not None:
                on_row(row)
    providers = [entrant.provider for entrant in chosen]
    reduced = frozenset(entrant.name for entrant in chosen if entrant.variant is not None)
    return ParityReport(potential.card.name, sha256, versions_of(providers), tuple(rows), reduced)


@dataclass(frozen=True)
class _Entrant:
    """An engine, or a runtime with the exporter that writes its files and the variant of the files."""

    name: str
    provider: Engine | Runtime
    exporter: Exporter | None = None
    variant: Variant | None = None


def _engines(host: PluginHost) -> list[_Entrant]:
    return [_Entrant(engine.name, cast("Engine", engine)) for engine in host.providers("engine")]


def _files(host: PluginHost) -> list[_Entrant]:
    """Return the runtimes that have an exporter, followed by the variants with reduced accuracy."""
    exact, reduced = [], []
    for runtime in cast("list[Runtime]", host.providers("runtime")):
        for exporter in cast("list[Exporter]", host.providers("exporter")):
            if exporter.suffix in runtime.suffixes:
                exact.append(_Entrant(runtime.name, runtime, exporter))
                for name, variant in exporter.variants.items():
                    reduced.append(_Entrant(f"{runtime.name}-{name}", runtime, exporter, variant))
                break
    return [*exact, *reduced]


def _rows_of(entrant: _Entrant, potential: Potential) -> Iterator[ParityRow]:
    provider = entrant.provider
    missing = provider.missing()
    cases = {name: for_card(atoms, potential.card) for name, atoms in all_structures().items()}
    cases[HUNDREDTH] = for_card(ethanol(), potential.card)
    if missing:
        message = f"{'; '.join(missing)}. Install with: {provider.install_hint}"
        yield from (ParityRow(entrant.name, case, "missing", message=message) for case in cases)
        return
    if isinstance(provider, Engine):
        is_double = potential.dtype.itemsize == 8
        tolerance = provider.tolerance_float64 if is_double else provider.tolerance
        for case, atoms in cases.items():
            problem = _not_offered(provider, atoms)
            if problem:
                yield ParityRow(provider.name, case, "unsupported", message=problem)
                continue
            through = ThroughEngine(provider, potential, {})
            yield _row(provider.name, case, atoms, potential, through, tolerance)
        return
    yield from _rows_of_file(entrant, potential, cases)


def _rows_of_file(entrant: _Entrant, potential: Potential, cases: dict[str, Atoms]) -> Iterator[ParityRow]:
    exporter, runtime, variant, name = entrant.exporter, entrant.provider, entrant.variant, entrant.name
    assert exporter is not None
    assert isinstance(runtime, Runtime)
    with tempfile.TemporaryDirectory(prefix="mlff-parity-") as folder:
        path = Path(folder) / f"model{exporter.suffix}"
        try:
            exporter.export(potential, path, None if variant is None else variant.options)
            opened = runtime.open(path, device="cpu")
        except MissingDependencyError as error:
            yield from (ParityRow(name, case, "missing", message=str(error)) for case in cases)
            return
        except UnsupportedError as error:
            yield from (ParityRow(name, case, "unsupported", message=str(error)) for case in cases)
            return
        except Exception as error:  # a compiler's or an exporter's own exception fails its rows, not the certificate
            message = str(error) if isinstance(error, MlffError) else f"{type(error).__name__}: {error}"
            yield from (ParityRow(name, case, "fail", message=message) for case in cases)
            return
        tolerance = Tolerance(1e-8, 1e-8, 1e-8) if potential.dtype.itemsize == 8 else Tolerance()
        for case, atoms in cases.items():
            if variant is None:
                yield _row(name, case, atoms, potential, opened, tolerance)
                continue
            row = _row(name, case, atoms, potential, opened, variant.tolerance)
            yield replace(row, message="; ".join(filter(None, [row.message, _stated(variant.tolerance)])))


def _stated(tolerance: Tolerance) -> str:
    return (
        f"own tolerance: {1e3 * tolerance.energy:g} meV/atom, {tolerance.forces:g} of the largest force, "
        f"{tolerance.stress:g} eV/Å³, {tolerance.of_charges:g} e"
    )


def _not_offered(engine: Engine, atoms: Atoms) -> str:
    if atoms.pbc.any() and "periodic" not in engine.capabilities:
        return f"{engine.name} supports molecules only"
    if atoms.pbc.any() and not atoms.pbc.all() and "slab" not in engine.capabilities:
        return f"{engine.name} does not support partly periodic structures"
    return ""


def _row(name: str, case: str, atoms: Atoms, potential: Potential, other: Potential, tolerance: Tolerance) -> ParityRow:
    batch = batch_from_atoms(atoms, dtype=potential.dtype)
    both = potential.supports & other.supports
    want = {"energy", "forces"} | ({"charges"} & both) | ({"stress"} & both if batch.pbc.all() else set())
    context = cast("AbstractContextManager[object]", other if isinstance(other, ThroughEngine) else nullcontext())
    try:
        with context:
            wanted = potential.predict(batch, want=want)
            for _ in range(99 if case == HUNDREDTH else 0):
                other.predict(batch, want=want)
            times = []
            for _ in range(N_TIMED):
                began = time.perf_counter()
                found = other.predict(batch, want=want)
                times.append(1e3 * (time.perf_counter() - began))
            return compared_row(name, case, batch, wanted, found, tolerance, statistics.median(times))
    except UnsupportedError as error:
        return ParityRow(name, case, "unsupported", message=str(error))
    except Exception as error:  # an engine's own exception is a failed row, not a failed certificate
        return ParityRow(name, case, "fail", message=f"{type(error).__name__}: {error}")
