"""Fixtures of the core's tests."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
import torch
from hypothesis import HealthCheck, settings

from mlff_core.model.radial import polynomial_envelope
from mlff_core.model.term import Term
from mlff_core.units import COULOMB_EV_ANGSTROM

settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ONE_ENGINE = """
    from mlff_core.plugins.engine import Engine
    from mlff_core.plugins.hookspecs import hookimpl

    class Planted(Engine):
        name = "{name}"
        {trait}
        def bind(self, potential, options=None): return potential
        def evaluate(self, bound, batch): return bound.predict(batch)

    @hookimpl
    def mlff_register_engines():
        return [Planted()]
"""

PLUGINS = {
    "good": """
        from mlff_core.plugins.engine import Engine
        from mlff_core.plugins.hookspecs import hookimpl

        class Abacus(Engine):
            name = "abacus"
            requires = ("pluggy",)
            def bind(self, potential, options=None): return potential
            def evaluate(self, bound, batch): return bound.predict(batch)

        class Distant(Abacus):
            name = "distant"
            requires = ("package-that-nobody-has>=3",)
            install_hint = "pip install package-that-nobody-has"

        @hookimpl
        def mlff_register_engines():
            return [Abacus(), Distant()]

        @hookimpl
        def mlff_register_commands(cli):
            import click
            @cli.command("abacus-count")
            def count():
                "Count on an abacus."
                click.echo("42")
    """,
    "crashing": """
        raise RuntimeError("planted crash at import")
    """,
    "leaving": """
        import sys
        sys.exit(3)
    """,
    "crashing_hook": """
        from mlff_core.plugins.hookspecs import hookimpl

        @hookimpl
        def mlff_register_engines():
            raise ZeroDivisionError("planted crash in a hook")

        @hookimpl
        def mlff_register_commands(cli):
            raise ZeroDivisionError("planted crash in commands")
    """,
    "misspelt": """
        from mlff_core.plugins.hookspecs import hookimpl

        @hookimpl
        def mlff_register_engine():
            return []
    """,
    "clashing": ONE_ENGINE.format(name="abacus", trait=""),
    "unreadable_requirement": ONE_ENGINE.format(name="slate", trait='requires = ("not a requirement !!",)'),
    "crashing_name": ONE_ENGINE.format(
        name="slate", trait='def for_name(self, name): raise ZeroDivisionError("planted crash in a name")'
    ),
    "clashing_command": """
        from mlff_core.plugins.hookspecs import hookimpl

        @hookimpl
        def mlff_register_commands(cli):
            import click
            @cli.command("abacus-count")
            def count():
                click.echo("43")
    """,
    "takes_md": """
        from mlff_core.plugins.hookspecs import hookimpl

        @hookimpl
        def mlff_register_commands(cli):
            import click
            @cli.command("md")
            def md():
                click.echo("mine")
    """,
    "wrong_type": """
        from mlff_core.plugins.hookspecs import hookimpl

        @hookimpl
        def mlff_register_teachers():
            return ["a string is no teacher"]
    """,
}


def install_plugins(folder: Path, names: list[str], distribution: str, version: str) -> Path:
    """Install a fake distribution with the named plugins into ``folder``, as pip would leave it; return the folder."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    entries = "".join(f"{name} = {distribution.replace('-', '_')}_{name}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[mlff]\n{entries}")
    for name in names:
        (folder / f"{distribution.replace('-', '_')}_{name}.py").write_text(dedent(PLUGINS[name]))
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs fake plugins for this test's process."""

    def install(*names: str, distribution: str = "abacus-plugins", version: str = "2.5") -> Path:
        folder = install_plugins(tmp_path / distribution, list(names), distribution, version)
        monkeypatch.syspath_prepend(str(folder))
        return folder

    return install


class Attraction(Term):
    """−depth (1 − r/r_c)³ for each pair closer than r_c: no term of ours, the same for all elements."""

    name = "attraction"

    def __init__(self, cutoff):
        super().__init__(cutoff)
        self.depth = torch.nn.Parameter(torch.tensor(0.3))

    @classmethod
    def make(cls, config, **options):
        return cls(options.get("cutoff", config.cutoff))

    def options(self):
        return {"cutoff": self.cutoff}

    def forward(self, distances, species, centers, neighbors, features):
        return -0.5 * self.depth * (1 - distances / self.cutoff).clamp(min=0) ** 3


class Charges(Term):
    """Screened Coulomb energy of charges that are read from the network's features."""

    name = "charges"

    def __init__(self, n_features, cutoff):
        super().__init__(cutoff)
        self.readout = torch.nn.Linear(n_features, 1)

    def forward(self, distances, species, centers, neighbors, features):
        charges = self.readout(features).squeeze(-1)
        product = charges[centers] * charges[neighbors]
        return 0.5 * COULOMB_EV_ANGSTROM * product / distances * polynomial_envelope(distances / self.cutoff)


@pytest.fixture
def make_attraction():
    """A term with a trainable depth and a cutoff of its own, Å, for a student's configuration."""
    return lambda config, cutoff: Attraction.make(config, cutoff=cutoff)


@pytest.fixture
def make_charges():
    """A term that reads charges from the network's features, with a cutoff of its own, Å."""
    return lambda config, cutoff: Charges(config.hidden, cutoff)
