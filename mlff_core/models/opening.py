"""Open any model, trained or exported, by name or path.

The way goes down once: a committee's file gives its members, the registry the file behind each name, and the file is
opened. This stands above the plugin host, since only the registered runtimes know which endings are theirs.
"""

from __future__ import annotations

from pathlib import Path

from mlff_core.errors import InputError, PluginError
from mlff_core.models import committee
from mlff_core.models.checkpoint import load_checkpoint
from mlff_core.models.devices import resolve_device, resolve_dtype
from mlff_core.models.registry import SUFFIX, resolve
from mlff_core.plugins.host import host
from mlff_core.plugins.runtime import Runtime
from mlff_core.potentials.ensemble import Ensemble
from mlff_core.potentials.guard import guard_of
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.student import StudentPotential


def load(
    name_or_path: str | Path, *, device: str = "auto", dtype: str = "float32", kernel: str = "auto", guard: str = "auto"
) -> Potential:
    """Return a model, ready to predict.

    Parameters
    ----------
    name_or_path
        A name (``mlff models list``), the path of a ``model.pt``, of an exported file whose ending a runtime knows
        (``mlff plugins list``), or of a committee's ``.toml``. A file that exists wins over a name.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    dtype
        ``"float32"`` or ``"float64"``. An exported file computes in the precision it was written in; one written in
        float32 is refused where float64 is asked for.
    kernel
        ``"auto"`` or the name of a kernel; an exported file has its own and takes only ``"auto"``.
    guard
        What happens at a structure unlike the training data, where the card has their ranges: ``"warn"`` warns once,
        ``"stop"`` raises an :class:`~mlff_core.errors.OffDomainError`, ``"off"`` does not look. ``"auto"`` is what the
        environment variable ``MLFF_GUARD`` says, or ``"warn"``.

    Raises
    ------
    CheckpointError
        The file is missing, damaged or foreign, or not the one behind the name.
    InputError
        Unknown device, dtype, kernel or guard, or a dtype or kernel that the exported file does not have.
    MissingDependencyError
        The runtime of this kind of file is not installed.
    PluginError
        Two runtimes claim this ending.
    """
    if committee.is_committee(name_or_path):
        files, calibration = committee.read_committee(Path(name_or_path))
        members = [_opened(file, device=device, dtype=dtype, kernel=kernel, guard=guard) for file in files]
        return Ensemble(members, calibration)
    return _opened(resolve(name_or_path), device=device, dtype=dtype, kernel=kernel, guard=guard)


def _opened(path: Path, *, device: str, dtype: str, kernel: str, guard: str) -> Potential:
    """Return the one model in a file: an exported one where a runtime knows its ending, else a student."""
    runtime = None if path.suffix.lower() == SUFFIX else runtime_for(path)
    if runtime is None:
        model, card = load_checkpoint(path)
        return StudentPotential(
            model,
            card,
            device=resolve_device(device),
            dtype=resolve_dtype(dtype),
            kernel=kernel,
            guard=guard_of(card, guard),
        )
    if kernel != "auto":
        raise InputError(f"{path} is an exported file with its own kernel, so kernel must be 'auto', got {kernel!r}")
    wanted = resolve_dtype(dtype)
    runtime.ensure_installed()
    potential = runtime.open(path, device=device)
    if potential.dtype.itemsize < wanted.itemsize:
        raise InputError(f"{path} was exported in {potential.dtype}, {dtype} was asked for; export it in {dtype}")
    potential.guard = guard_of(potential.card, guard)
    return potential


def opened(
    model: str | Path | Potential,
    *,
    device: str = "auto",
    dtype: str = "float32",
    kernel: str = "auto",
    guard: str = "auto",
) -> Potential:
    """Return a potential as it is, and a model by its name or path as :func:`load` gives it.

    Parameters
    ----------
    model
        A name, a path, or a potential, which keeps its own device, dtype, kernel and guard.
    device, dtype, kernel, guard
        As :func:`load` takes them.
    """
    return (
        model if isinstance(model, Potential) else load(model, device=device, dtype=dtype, kernel=kernel, guard=guard)
    )


def runtime_for(path: Path) -> Runtime | None:
    """Return the runtime that opens files with this ending, None if there is none.

    Raises
    ------
    PluginError
        Two runtimes claim it.
    """
    suffix = path.suffix.lower()
    claims = [
        provider
        for provider in host().providers("runtime")
        if isinstance(provider, Runtime) and suffix in provider.suffixes
    ]
    if len(claims) > 1:
        names = " and ".join(provider.name for provider in claims)
        raise PluginError(f"files with the ending {suffix} are claimed by {names}; choose with MLFF_PLUGINS")
    return claims[0] if claims else None
