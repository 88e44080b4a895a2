"""Runs of contracts without pytest, for ``mlff plugins check`` and for scripts."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

from mlff_core.errors import InputError
from mlff_core.plugins import host as plugins

CONTRACTS: dict[str, tuple[str, str]] = {
    "engine": ("mlff_core.testing.engine_contract", "EngineContract"),
    "exporter": ("mlff_core.testing.exporter_contract", "ExporterContract"),
    "runtime": ("mlff_core.testing.runtime_contract", "RuntimeContract"),
    "teacher": ("mlff_core.testing.teacher_contract", "TeacherContract"),
}
"""Module and class of the contract of each kind; the class attribute with the kind's name is the provider to check."""


@dataclass(frozen=True)
class ContractResult:
    """Result of one test of a contract.

    Parameters
    ----------
    name
        The test's name with spaces.
    status
        ``"ok"``, ``"failed"`` or ``"skipped"``.
    message
        Why it failed or was skipped.
    seconds
        Wall time.
    """

    name: str
    status: str
    message: str
    seconds: float


def run_contract(contract: type[Any]) -> list[ContractResult]:
    """Return the result of every test of a contract class."""
    return list(iterate_contract(contract))


def iterate_contract(contract: type[Any]) -> Iterator[ContractResult]:
    """Yield each result when its test is done; tests run in the order in which they are written."""
    for name in test_names(contract):
        yield run_test(contract, name)


def run_test(contract: type[Any], name: str) -> ContractResult:
    """Return the result of one test; any exception but ``SkipTest`` is a failure."""
    status, message, start = "ok", "", time.perf_counter()
    try:
        # A new object for each test, as pytest makes it.
        getattr(contract(), name)()
    except SkipTest as reason:
        status, message = "skipped", str(reason)
    except AssertionError as error:
        status, message = "failed", str(error)
    except Exception as error:
        status, message = "failed", f"{type(error).__name__}: {error}"
    title = name.removeprefix("test_").replace("_", " ")
    return ContractResult(title, status, message, time.perf_counter() - start)


def test_names(contract: type[Any]) -> list[str]:
    """Return the names of a contract's test methods, the base class's first, in order of writing."""
    names: dict[str, None] = {}
    for base in reversed(contract.__mro__):
        names.update(dict.fromkeys(name for name in vars(base) if name.startswith("test_")))
    return [name for name in names if callable(getattr(contract, name))]


test_names.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def contract_for(kind: str, name: str) -> type[Any]:
    """Return the contract class of an installed provider, ready to run.

    Parameters
    ----------
    kind
        ``"engine"``, ``"exporter"``, ``"runtime"`` or ``"teacher"``.
    name
        Name of the provider.

    Raises
    ------
    PluginError
        No plugin or more than one offers it.
    InputError
        An unknown kind.
    """
    if kind not in CONTRACTS:
        raise InputError(f"kind must be one of {', '.join(CONTRACTS)}, got {kind!r}")
    module, class_name = CONTRACTS[kind]
    contract = getattr(importlib.import_module(module), class_name)
    return type(f"{class_name} of {name}", (contract,), {kind: plugins.host().get(kind, name)})
