"""The plugin host: finds plugins, loads them one by one, and lists broken ones instead of crashing."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from types import ModuleType
from typing import Any, TypeVar

import click
import pluggy

from mlff_core.errors import PluginError
from mlff_core.plugins import hookspecs
from mlff_core.plugins.engine import Engine
from mlff_core.plugins.exporter import Exporter
from mlff_core.plugins.provider import Provider
from mlff_core.plugins.runtime import Runtime
from mlff_core.plugins.teacher import Teacher

P = TypeVar("P", bound=Provider)

KINDS: dict[str, type[Provider]] = {
    "engine": Engine,
    "exporter": Exporter,
    "runtime": Runtime,
    "teacher": Teacher,
}
"""The kinds of providers and their base classes; the hook of each kind is ``mlff_register_<kind>s``."""


@dataclass(frozen=True)
class PluginRow:
    """One line of ``mlff plugins list``.

    Parameters
    ----------
    name
        Of the engine, exporter, runtime or teacher; of the plugin itself where it could not be loaded.
    kind
        ``"engine"``, ``"exporter"``, ``"runtime"``, ``"teacher"``, or ``"plugin"``.
    distribution, version
        The installed package that provides it.
    status
        ``"ready"``, ``"missing"`` (a package it needs is not installed) or ``"broken"``.
    message
        What is missing or broken; empty when ready.
    install_hint
        The command that installs what is missing.
    """

    name: str
    kind: str
    distribution: str
    version: str
    status: str
    message: str = ""
    install_hint: str = ""


@dataclass(frozen=True)
class _Source:
    """Where a plugin comes from."""

    name: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass
class PluginHost:
    """Plugins of the entry-point group ``mlff``, loaded one by one, each behind its own ``try``.

    ``MLFF_PLUGINS=a,b`` in the environment restricts loading to the entry points of these names;
    ``MLFF_STRICT_PLUGINS=1`` raises the exception of a broken plugin again.
    """

    manager: pluggy.PluginManager = field(default_factory=lambda: pluggy.PluginManager(hookspecs.PROJECT))
    broken: list[PluginRow] = field(default_factory=list)
    _sources: dict[str, _Source] = field(default_factory=dict)
    _offers: dict[str, list[tuple[Provider, _Source]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.manager.add_hookspecs(hookspecs)

    def load_entry_points(self) -> None:
        """Load every plugin that is installed and allowed by ``MLFF_PLUGINS``."""
        only = {name.strip() for name in os.environ.get("MLFF_PLUGINS", "").split(",") if name.strip()}
        for entry_point in metadata.entry_points(group=hookspecs.PROJECT):
            if only and entry_point.name not in only:
                continue
            distribution = entry_point.dist
            source = _Source(
                entry_point.name,
                distribution.name if distribution is not None else "unknown",
                distribution.version if distribution is not None else "unknown",
            )
            with self._guard(source):
                self.register(entry_point.load(), source.name, source.distribution, source.version)

    def register(self, module: ModuleType | object, name: str, distribution: str = "local", version: str = "") -> None:
        """Register one plugin, a module or object with hook implementations.

        Raises
        ------
        PluginError
            A hook is misspelt, or a plugin of this name is registered already.
        """
        source = _Source(name, distribution, version)
        _check_spelling(module, source)
        if name in self._sources:
            raise PluginError(f"two plugins are called {name!r}: {self._sources[name]} and {source}; remove one")
        try:
            self.manager.register(module, name=name)
        except (ValueError, pluggy.PluginValidationError) as error:
            raise PluginError(f"plugin {source} cannot be registered: {error}") from error
        self._sources[name] = source

    def call_commands(self, cli: click.Group) -> None:
        """Let every plugin add its commands to the command line; of two commands of one name the first is kept."""
        built_in = set(cli.list_commands(click.Context(cli))) - set(cli.commands)
        owners = dict.fromkeys(built_in, "mlff itself")
        for source, implementation in self._implementations("mlff_register_commands"):
            offered = click.Group()
            with self._guard(source):
                implementation(offered)
                for name, command in offered.commands.items():
                    if name in owners:
                        raise PluginError(_clash("command", name, [owners[name], str(source)]))
                    owners[name] = str(source)
                    cli.add_command(command, name)

    def providers(self, kind: str) -> list[Provider]:
        """Return everything registered of a kind (``"engine"``, ``"exporter"``, ``"runtime"``, ``"teacher"``)."""
        return [provider for provider, _ in self._offered(kind)]

    def get(self, kind: str, name: str) -> Provider:
        """Return the provider of this kind and name.

        Raises
        ------
        PluginError
            No plugin or more than one offers it; the message names the known ones, or both providers.
        """
        found: list[tuple[Provider, _Source]] = []
        for provider, source in self._offered(kind):
            with self._guard(source):
                if (member := provider.for_name(name)) is not None:
                    found.append((member, source))
        if len(found) > 1:
            raise PluginError(_clash(kind, name, [source for _, source in found]))
        if not found:
            known = sorted(provider.name for provider in self.providers(kind))
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            broken = "".join(f" Plugin {row.name} is broken: {row.message}." for row in self.broken)
            raise PluginError(f"no {kind} is called {name!r}{hint} There are: {', '.join(known) or 'none'}.{broken}")
        return found[0][0]

    def rows(self) -> list[PluginRow]:
        """Return one row for everything registered, then one for each plugin that is broken."""
        rows = []
        for kind in KINDS:
            offered = self._offered(kind)
            for provider, source in offered:
                rivals = [other for rival, other in offered if rival.name == provider.name]
                status, message, hint = "ready", "", ""
                with self._guard(source, provider.name, kind):
                    missing = provider.missing()
                    if len(rivals) > 1:
                        status, message = "broken", _clash(kind, provider.name, rivals)
                    elif missing:
                        status, message, hint = "missing", "; ".join(missing), provider.install_hint
                    row = PluginRow(provider.name, kind, source.distribution, source.version, status, message, hint)
                    rows.append(row)
        return rows + self.broken

    def _offered(self, kind: str) -> list[tuple[Provider, _Source]]:
        if kind not in self._offers:
            offers: list[tuple[Provider, _Source]] = []
            for source, implementation in self._implementations(f"mlff_register_{kind}s"):
                with self._guard(source):
                    offers.extend((_checked(provider, kind, source), source) for provider in implementation())
            self._offers[kind] = offers
        return self._offers[kind]

    def _implementations(self, hook: str) -> Iterator[tuple[_Source, Callable[..., Any]]]:
        # Called one by one rather than through pluggy's hook call, which stops at the first exception.
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            yield self._sources[implementation.plugin_name], implementation.function

    def _guard(self, source: _Source, name: str | None = None, kind: str = "plugin") -> _Guard:
        return _Guard(self, source, name or source.name, kind)


class _Guard:
    """Records any exception of a plugin as a broken row."""

    def __init__(self, host: PluginHost, source: _Source, name: str, kind: str) -> None:
        self.host = host
        self.source = source
        self.name = name
        self.kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        # A plugin that calls sys.exit while it loads is as broken as one that raises.
        if error is None or not isinstance(error, (Exception, SystemExit)):
            return False
        if os.environ.get("MLFF_STRICT_PLUGINS") == "1":
            return False
        message = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        row = PluginRow(self.name, self.kind, self.source.distribution, self.source.version, "broken", message)
        if row not in self.host.broken:
            self.host.broken.append(row)
        return True


def _check_spelling(module: ModuleType | object, source: _Source) -> None:
    known = sorted(name for name in vars(hookspecs) if name.startswith("mlff_register_"))
    for name, member in vars(module).items() if hasattr(module, "__dict__") else ():
        marked = getattr(member, f"{hookspecs.PROJECT}_impl", None) is not None
        if (marked or name.startswith("mlff_register_")) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise PluginError(f"plugin {source} implements {name}, which is not a hook: {hint}")


def _checked(provider: object, kind: str, source: _Source) -> Provider:
    wanted = KINDS[kind]
    if not isinstance(provider, wanted):
        raise PluginError(
            f"plugin {source} registered {provider!r} as {kind}; "
            f"wanted an instance of {wanted.__module__}.{wanted.__name__}"
        )
    if not isinstance(getattr(provider, "name", None), str) or not provider.name:
        raise PluginError(f"plugin {source} registered a {kind} without a name: {provider!r}")
    return provider


def _clash(kind: str, name: str, sources: Iterable[_Source | str]) -> str:
    return (
        f"the {kind} {name!r} is offered by {' and by '.join(sorted(str(source) for source in sources))}; "
        "uninstall one, or choose with MLFF_PLUGINS"
    )


@lru_cache(maxsize=1)
def host() -> PluginHost:
    """Return the process's plugin host, with every installed plugin loaded."""
    loaded = PluginHost()
    loaded.load_entry_points()
    return loaded


def engine(name: str) -> Engine:
    """Return the engine of this name, see :meth:`PluginHost.get`."""
    return _typed(host().get("engine", name), Engine)


def exporter(name: str) -> Exporter:
    """Return the exporter of this name, see :meth:`PluginHost.get`."""
    return _typed(host().get("exporter", name), Exporter)


def runtime(name: str) -> Runtime:
    """Return the runtime of this name, see :meth:`PluginHost.get`."""
    return _typed(host().get("runtime", name), Runtime)


def teacher(name: str) -> Teacher:
    """Return the teacher of this name, see :meth:`PluginHost.get`."""
    return _typed(host().get("teacher", name), Teacher)


def _typed(provider: Provider, wanted: type[P]) -> P:
    if not isinstance(provider, wanted):
        raise PluginError(f"{provider.name} is not a {wanted.__name__}")
    return provider
