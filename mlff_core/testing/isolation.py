"""Checks that a plugin does not change the process: its settings, its output, its imported modules."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from unittest import SkipTest, mock

import numpy as np
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlff_core.errors import MissingDependencyError
from mlff_core.plugins.provider import Provider

CORE_DISTRIBUTION = "mlff-hub"


def process_settings() -> dict[str, object]:
    """Return every global setting and random state that a library must not change, comparable with ``==``."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # type: ignore[misc]
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "torch's random state": torch.get_rng_state().numpy().tobytes(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's float32 matmul precision": torch.get_float32_matmul_precision(),
        "NumPy's random state": (kind, np.asarray(keys).tobytes(), *rest),
        "NumPy's error handling": np.geterr(),
        "Python's random state": random.getstate(),
        "the working directory": os.getcwd(),  # noqa: PTH109 - a plain string compares and prints
    }


@contextlib.contextmanager
def recorded_changes() -> Iterator[list[str]]:
    """Yield a list that is filled, at the end of the context, with the names of the process settings that have changed.

    The default dtype and the number of threads are then restored for the next test.
    """
    before, changed = process_settings(), list[str]()
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    try:
        yield changed
    finally:
        after = process_settings()
        changed.extend(name for name, value in before.items() if after[name] != value)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)  # noqa: TID251 - undoes what the plugin under test did
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def recorded_output() -> Iterator[list[str]]:
    """Yield a list that is filled, at the end of the context, with the text written to standard output and error.

    File descriptors are watched as well as ``sys.stdout`` and ``sys.stderr``, so output of compiled code is included.
    """
    written: list[str] = []
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as descriptors, tempfile.TemporaryFile("w+") as streams:
        kept = [os.dup(1), os.dup(2)]
        try:
            os.dup2(descriptors.fileno(), 1)
            os.dup2(descriptors.fileno(), 2)
            with contextlib.redirect_stdout(streams), contextlib.redirect_stderr(streams):
                yield written
        finally:
            # Flush C's buffers first, so that earlier output is not recorded here.
            ctypes.CDLL(None).fflush(None)
            for descriptor, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
            for file in (descriptors, streams):
                file.seek(0)
            written.extend(text for text in (descriptors.read().decode(errors="replace"), streams.read()) if text)


def assert_nothing_changed(changed: list[str], what: str) -> None:
    """Check a list of :func:`recorded_changes`.

    Raises
    ------
    AssertionError
        A setting changed; the message names all of them.
    """
    if changed:
        raise AssertionError(f"{what} changed {', '.join(changed)}; it must be as it was before")


def assert_nothing_printed(written: list[str], what: str) -> None:
    """Check a list of :func:`recorded_output`.

    Raises
    ------
    AssertionError
        Something was written; the message quotes its beginning.
    """
    if written:
        raise AssertionError(f"{what} printed {written[0][:200]!r}; a library prints nothing")


def kept_folder() -> Path:
    """Return a new temporary folder that is kept until the process ends, since several tests read it."""
    folder = Path(tempfile.mkdtemp(prefix="mlff-contract-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def optional_distributions(provider: Provider) -> tuple[str, ...]:
    """Return the packages that ``provider`` needs in addition to those of the core."""
    own = [Requirement(text) for text in metadata.requires(CORE_DISTRIBUTION) or ()]
    core = {canonicalize_name(r.name) for r in own if r.marker is None or "extra" not in str(r.marker)}
    needed = {canonicalize_name(Requirement(text).name) for text in provider.requires}
    return tuple(sorted(needed - core))


def import_names(distributions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the top-level modules of installed packages."""
    if not distributions:
        return ()
    wanted = {canonicalize_name(name) for name in distributions}
    return tuple(
        sorted(
            module
            for module, owners in metadata.packages_distributions().items()
            if wanted & {canonicalize_name(owner) for owner in owners}
        )
    )


def check_import_is_light(module: str, engine_modules: tuple[str, ...]) -> None:
    """Check in a fresh process that importing ``module`` imports none of ``engine_modules``.

    Raises
    ------
    AssertionError
        One of them was imported; the message names all of them.
    """
    if not engine_modules:
        raise SkipTest("the plugin needs no package beyond the core's")
    code = (
        "import importlib, json, sys\n"
        f"importlib.import_module({module!r})\n"
        f"print(json.dumps([m for m in {list(engine_modules)!r} if m in sys.modules]))"
    )
    imported = json.loads(_run(code).splitlines()[-1])
    if imported:
        raise AssertionError(f"importing {module} imports {', '.join(imported)}; import it inside the methods")


def check_absence_is_explained(
    provider: Provider, use: str, distributions: tuple[str, ...], modules: tuple[str, ...]
) -> None:
    """Check, in a fresh process that hides packages, that the plugin still imports and gives the install command.

    Parameters
    ----------
    provider
        An engine, exporter, runtime or teacher.
    use
        A Python expression that uses it; ``provider`` and ``potential`` are defined.
    distributions, modules
        Packages and top-level modules to hide.

    Raises
    ------
    AssertionError
        The module does not import, ``missing()`` is empty, or the error lacks the install hint.
    """
    if not distributions:
        raise SkipTest("the plugin needs no package beyond the core's")
    kind = type(provider)
    student = "from mlff_core.testing.reference_potential import small_student; potential = small_student()"
    code = f"""
import importlib, importlib.abc, importlib.metadata as metadata, sys
hidden_distributions, hidden_modules = set({list(distributions)!r}), set({list(modules)!r})
from packaging.utils import canonicalize_name
def hide(function):
    def replacement(name, *rest):
        if canonicalize_name(name) in hidden_distributions:
            raise metadata.PackageNotFoundError(name)
        return function(name, *rest)
    return replacement
metadata.version, metadata.distribution = hide(metadata.version), hide(metadata.distribution)
class Hider(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in hidden_modules:
            raise ModuleNotFoundError("hidden: " + name, name=name)
sys.meta_path.insert(0, Hider())
provider = importlib.import_module({kind.__module__!r}).{kind.__qualname__}()
if not provider.missing():
    sys.exit("missing() is empty although the package is absent")
from mlff_core.errors import MissingDependencyError
{student if "potential" in use else ""}
try:
    {use}
except MissingDependencyError as error:
    if provider.install_hint not in str(error):
        sys.exit("the install hint is not in the message: " + str(error))
else:
    sys.exit("no MissingDependencyError was raised")
"""
    _run(code)


def check_old_versions_are_refused(provider: Provider, use: Callable[[], object]) -> None:
    """Check that using a provider raises an error when its packages are installed in unsupported versions.

    Parameters
    ----------
    provider
        An engine, exporter, runtime or teacher.
    use
        Function that uses it.

    Raises
    ------
    AssertionError
        No error is raised, or the error lacks the wanted version, the installed one or the install command.
    """
    ranges = {canonicalize_name(Requirement(text).name): text for text in provider.requires}
    ranges = {name: text for name, text in ranges.items() if Requirement(text).specifier}
    if not ranges:
        raise SkipTest("the plugin states no range of versions")
    true_version = metadata.version

    def old_version(name: str) -> str:
        true_version(name)
        return "0.0.1" if canonicalize_name(name) in ranges else true_version(name)

    with mock.patch.object(metadata, "version", old_version):
        try:
            use()
        except MissingDependencyError as error:
            stated = [f"{text} is wanted, {Requirement(text).name} 0.0.1 is installed" for text in ranges.values()]
            parts = [provider.install_hint, *stated]
            lacking = [part for part in parts if part not in str(error)]
            if lacking:
                raise AssertionError(f"the message must contain {lacking[0]!r}, got: {error}") from error
            return
    raise AssertionError("a version outside the supported range was used without an error")


def _run(code: str) -> str:
    # The child gets the parent's path, so that a plugin in a test's own folder is found too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        raise AssertionError(f"with the package hidden: {lines[-1] if lines else f'exit status {result.returncode}'}")
    return result.stdout
