"""``mlff doctor``: versions, devices, working plugins, and packages to install."""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata

import click
from packaging.requirements import InvalidRequirement, Requirement
from rich.console import Console

from mlff_core import __version__
from mlff_core.cli.plugins import table_of
from mlff_core.plugins.host import KINDS, PluginRow, host

CORE_PACKAGES = ("torch", "numpy", "ase", "vesin", "h5py", "pluggy", "click")
SETTINGS = (
    "MLFF_KERNEL",
    "MLFF_PLUGINS",
    "MLFF_STRICT_PLUGINS",
    "MLFF_MODELS_DIR",
    "MLFF_CACHE_DIR",
    "OMP_NUM_THREADS",
)


@dataclass(frozen=True)
class Diagnosis:
    """Result of ``mlff doctor``.

    Parameters
    ----------
    mlff_hub, python, platform
        Versions, and the machine.
    packages
        Version of each package that the core or a plugin requires; None if it is not installed.
    devices
        Devices that torch can use.
    threads
        Number of torch's threads.
    settings
        Environment variables that influence the package.
    plugins
        The rows of ``mlff plugins list``.
    advice
        One line for each recommended action.
    """

    mlff_hub: str
    python: str
    platform: str
    packages: dict[str, str | None]
    devices: list[str]
    threads: int
    settings: dict[str, str]
    plugins: list[PluginRow]
    advice: list[str]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Show versions, devices, the state of every plugin, and missing packages."""
    found = diagnose()
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
        return
    click.echo(f"mlff-hub {found.mlff_hub}, Python {found.python}, {found.platform}")
    for name, version in found.packages.items():
        click.echo(f"  {name:28s} {version or click.style('not installed', fg='yellow')}")
    click.echo(f"Devices: {', '.join(found.devices)}; {found.threads} threads")
    for name, value in found.settings.items():
        click.echo(f"  {name}={value}")
    Console().print(table_of(found.plugins))
    for line in found.advice:
        click.echo(f"- {line}")


def diagnose() -> Diagnosis:
    """Return the state of this installation."""
    import torch

    rows = host().rows()
    devices = [f"cpu ({platform.processor() or platform.machine()}, {os.cpu_count()} cores)"]
    devices += [f"cuda:{k} ({torch.cuda.get_device_name(k)})" for k in range(torch.cuda.device_count())]
    return Diagnosis(
        mlff_hub=__version__,
        python=sys.version.split()[0],
        platform=platform.platform(),
        packages={name: _version(name) for name in _packages()},
        devices=devices,
        threads=torch.get_num_threads(),
        settings={name: os.environ[name] for name in SETTINGS if name in os.environ},
        plugins=rows,
        advice=_advice(rows),
    )


def _packages() -> list[str]:
    asked = set()
    for text in (text for kind in KINDS for provider in host().providers(kind) for text in provider.requires):
        with suppress(InvalidRequirement):  # the plugin's row says that it is broken
            asked.add(Requirement(text).name)
    return [*CORE_PACKAGES, *sorted(asked - set(CORE_PACKAGES))]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _advice(rows: list[PluginRow]) -> list[str]:
    advice = []
    for row in rows:
        if row.status == "missing":
            advice.append(f"for {row.name}: {row.install_hint}")
        elif row.status == "broken":
            advice.append(f"plugin {row.name} of {row.distribution} is broken: {row.message}")
    return list(dict.fromkeys(advice)) or ["everything that is registered is ready"]
