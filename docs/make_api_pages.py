"""Write the pages of the API reference from the public names of the package.

    python docs/make_api_pages.py

``docs/conf.py`` does this at each build. The names are those of ``mlff_core.__all__`` and
``mlff_core.testing.__all__``, the hooks, the functions and classes of the modules in ``MODULES``,
and what each built-in plugin exports.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import mlff_core
import mlff_plugins
from mlff_core import testing
from mlff_core.plugins import hookspecs

MODULES = {
    "running": (
        "Run and relax",
        [
            "mlff_core.dynamics.simulation",
            "mlff_core.dynamics.replicas",
            "mlff_core.dynamics.settings",
            "mlff_core.dynamics.relaxation",
            "mlff_core.dynamics.batched_relaxation",
            "mlff_core.potentials.watched",
        ],
    ),
    "models": (
        "Models and their files",
        [
            "mlff_core.models.registry",
            "mlff_core.models.checkpoint",
            "mlff_core.models.committee",
            "mlff_core.models.devices",
            "mlff_core.potentials.ensemble",
            "mlff_core.potentials.wrapping",
            "mlff_core.potentials.checks",
            "mlff_core.model.painn",
            "mlff_core.model.presets",
        ],
    ),
    "data": (
        "Data sets",
        [
            "mlff_core.data.structure",
            "mlff_core.data.reader",
            "mlff_core.data.writer",
            "mlff_core.data.generate",
            "mlff_core.data.recipe",
            "mlff_core.data.label",
            "mlff_core.data.split",
            "mlff_core.data.convert",
            "mlff_core.data.merge",
        ],
    ),
    "training": (
        "Training and validation",
        [
            "mlff_core.training.settings",
            "mlff_core.training.trainer",
            "mlff_core.judging.evaluate",
            "mlff_core.judging.outcome",
            "mlff_core.judging.metrics",
            "mlff_core.export.parity",
            "mlff_core.export.parity_report",
            "mlff_plugins.benchmark.timing",
        ],
    ),
}
"""Title and modules of each page other than that of the public names."""

PLUGINS = (
    "ase",
    "openmm",
    "ipi",
    "qcengine",
    "lammps",
    "metatomic",
    "gromacs",
    "torchsim",
    "onnx",
    "torchscript",
    "aoti",
)
GROUPS = {
    "Models": ("models.opening", "potentials.interface", "potentials.verlet", "potentials.student", "card"),
    "Structures and results": (
        "structures.batch",
        "structures.reading",
        "structures.prediction",
        "structures.neighbors",
    ),
    "Plugins": tuple(
        f"plugins.{name}" for name in ("provider", "engine", "exporter", "runtime", "teacher", "hookspecs")
    ),
    "Errors": ("errors",),
}
"""Headings of the page of public names, each with the modules of its names."""


def public(module: ModuleType) -> list[str]:
    """Return the public functions and classes that a module defines, in its order."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
        and not name.startswith("mlff_register_")
    ]


def plugins() -> dict[str, list[tuple[str, str]]]:
    """Return what each built-in plugin exports, or else the engines, exporters and runtimes that it defines."""
    modules = [f"mlff_plugins.{found.name}" for found in pkgutil.iter_modules(mlff_plugins.__path__)]
    names = {module: exported(importlib.import_module(module)) for module in modules}
    return {module: [(module, name) for name in names[module]] for module in modules if names[module]}


def exported(module: ModuleType) -> list[str]:
    """Return the functions and classes that a plugin's module exports."""
    names = [name for name in getattr(module, "__all__", public(module)) if not name.startswith("mlff_register_")]
    return [name for name in names if callable(getattr(module, name))]


def directive(module: str, name: str) -> str:
    """Return the lines that document one name."""
    value = getattr(importlib.import_module(module), name)
    if not inspect.isclass(value):
        kind = "autofunction" if inspect.isfunction(value) else "autodata"
        return f".. {kind}:: {module}.{name}\n"
    return f".. autoclass:: {module}.{name}\n   :members:\n   :show-inheritance:\n"


def page(title: str, parts: dict[str, list[tuple[str, str]]]) -> str:
    """Return a page: a title, and under each heading what documents its names."""
    lines = [title, "=" * len(title), ""]
    for heading, names in parts.items():
        lines += [heading, "-" * len(heading), "", *(directive(module, name) for module, name in names)]
    return "\n".join(lines)


def core_page() -> str:
    """Return the page of the public names of ``mlff_core``."""
    homes = mlff_core._HOME
    parts = {
        heading: [("mlff_core", name) for module in modules for name in homes if homes[name] == module]
        for heading, modules in GROUPS.items()
    }
    return page("mlff_core", parts)


def testing_page() -> str:
    """Return the page of the contracts that test plugins."""
    return page("mlff_core.testing", {"Contracts": [("mlff_core.testing", name) for name in testing.__all__]})


def pages() -> dict[str, str]:
    """Return every page by its name, reStructuredText; imports every engine."""
    hooks = [("mlff_core.plugins.hookspecs", name) for name in vars(hookspecs) if name.startswith("mlff_register_")]
    made = {"core": core_page()}
    for name, (title, modules) in MODULES.items():
        made[name] = page(title, {m: [(m, one) for one in public(importlib.import_module(m))] for m in modules})
    made["plugins"] = page("Plugins", plugins())
    made["hooks"] = page("Hooks", {"What a plugin may implement": hooks})
    made["testing"] = testing_page()
    listed = "\n".join(f"   {name}" for name in made)
    made["index"] = f"API reference\n=============\n\n.. toctree::\n   :maxdepth: 2\n\n{listed}\n"
    return made


def write(folder: Path) -> None:
    """Write the pages into a folder; a page that has not changed is not written again."""
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent / "api")
