"""Open any model, trained or exported, by name or path.

The steps: a committee's file gives its members, the registry gives the file of each name, and each file is opened. This
module imports the plugin host, because only the registered runtimes know which endings they open.
"""

from __future__ import annotations

from pathlib import Path

from mlff_core.errors import InputError, MlffError, PluginError
from mlff_core.models import committee
from mlff_core.models.checkpoint import load_checkpoint
from mlff_core.models.devices import resolve_device, resolve_dtype
from mlff_core.models.registry import SUFFIX, resolve, verify_file
from mlff_core.models.sealed import check_seal
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
        A name (``mlff models list``), or the path of a ``model.pt``, of an exported file with an ending that a runtime
        opens (``mlff plugins list``), or of a committee's ``.toml``. An existing file has priority over a name.
    device
        ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    dtype
        ``"float32"`` or ``"float64"``. An exported file computes in the precision it was written in; a file written
        in float32 is refused if float64 is asked for.
    kernel
        ``"auto"`` or the name of a kernel; an exported file has its own kernel and accepts only ``"auto"``.
    guard
        Action at a structure unlike the training data, if the card has their ranges: ``"warn"`` warns once,
        ``"stop"`` raises an :class:`~mlff_core.errors.OffDomainError`, ``"off"`` does not check. ``"auto"`` is the
        value of the environment variable ``MLFF_GUARD``, or ``"warn"``.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, of another project, or not the one that was registered under the name.
    InputError
        The device, dtype, kernel or guard is unknown, or the exported file does not have this dtype or kernel.
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
    """Return the single model in a file: an exported model if a runtime opens this ending, otherwise a student."""
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
    """Return a potential unchanged, or the model with this name or path from :func:`load`.

    Parameters
    ----------
    model
        A name, a path, or a potential, which keeps its own device, dtype, kernel and guard.
    device, dtype, kernel, guard
        As in :func:`load`.
    """
    return (
        model if isinstance(model, Potential) else load(model, device=device, dtype=dtype, kernel=kernel, guard=guard)
    )


def runtime_for(path: Path) -> Runtime | None:
    """Return the runtime that opens files with this ending, or None if there is none.

    Raises
    ------
    PluginError
        Two runtimes claim this ending.
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


def verify(path: str | Path) -> list[str]:
    """Return the problems of a model file or an exported file, one sentence each; empty if there are none.

    An exported file is also opened if its runtime is installed; otherwise only its digest is compared.
    """
    path = Path(path)
    runtime = None if path.suffix.lower() == SUFFIX else runtime_for(path)
    if runtime is None:
        return verify_file(path)
    try:
        is_sealed = check_seal(path, path.read_bytes())
        if is_sealed and not runtime.missing():
            runtime.open(path, device="cpu")
    except MlffError as error:
        return [str(error)]
    return [] if is_sealed else [f"{path} has no digest at its end, so damage cannot be seen; export it again"]
