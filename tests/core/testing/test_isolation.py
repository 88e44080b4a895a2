"""Checks in a new process: light imports, and the message if a package is absent."""

import os
import sys
from textwrap import dedent

import numpy as np
import pytest
import torch

from mlff_core.testing import isolation

PLUGIN = """
    {top}
    from mlff_core.plugins.engine import Engine
    from mlff_core.errors import MissingDependencyError

    class Heavy(Engine):
        name = "heavy"
        requires = ("heavy-engine>=1",)
        install_hint = "pip install heavy-engine"

        def bind(self, potential, options=None):
            {bind}
            import heavy_engine
            return potential

        def evaluate(self, bound, batch):
            return bound.predict(batch)
"""


@pytest.fixture
def heavy(tmp_path, monkeypatch):
    """Return a function that installs an engine and a plugin for it, and gives the plugin's engine."""
    site = tmp_path / "site"
    info = site / "heavy_engine-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-engine\nVersion: 1.5\n")
    (info / "top_level.txt").write_text("heavy_engine\n")
    (info / "RECORD").write_text("heavy_engine.py,,\n")
    (site / "heavy_engine.py").write_text("")
    monkeypatch.syspath_prepend(str(site))

    def install(top="", bind="self.ensure_installed()"):
        (site / "heavy_plugin.py").write_text(dedent(PLUGIN).format(top=top, bind=bind))
        sys.modules.pop("heavy_plugin", None)
        import heavy_plugin

        return heavy_plugin.Heavy()

    yield install
    for name in ("heavy_plugin", "heavy_engine"):
        sys.modules.pop(name, None)


def check_absence(engine):
    distributions = isolation.optional_distributions(engine)
    isolation.check_absence_is_explained(
        engine, "provider.bind(None, {})", distributions, isolation.import_names(distributions)
    )


def test_a_plugin_that_imports_its_engine_inside_its_methods_passes(heavy):
    engine = heavy()
    assert isolation.optional_distributions(engine) == ("heavy-engine",)
    assert isolation.import_names(("heavy-engine",)) == ("heavy_engine",)
    isolation.check_import_is_light("heavy_plugin", ("heavy_engine",))
    check_absence(engine)


def test_a_plugin_that_imports_its_engine_at_once_fails(heavy):
    engine = heavy(top="import heavy_engine")
    with pytest.raises(AssertionError, match="importing heavy_plugin imports heavy_engine"):
        isolation.check_import_is_light("heavy_plugin", ("heavy_engine",))
    with pytest.raises(AssertionError, match="hidden: heavy_engine"):
        check_absence(engine)


def test_a_plugin_that_lets_the_import_error_through_fails(heavy):
    with pytest.raises(AssertionError, match="hidden: heavy_engine"):
        check_absence(heavy(bind="pass"))


def test_a_plugin_that_forgets_the_hint_fails(heavy):
    with pytest.raises(AssertionError, match="install hint is not in the message"):
        check_absence(heavy(bind='raise MissingDependencyError("it is not there")'))


def test_packages_of_the_core_are_nobodys_own():
    from mlff_core.plugins.provider import Provider

    class Plain(Provider):
        name = "plain"
        requires = ("ase>=3.23", "torch")

    assert isolation.optional_distributions(Plain()) == ()


@pytest.mark.parametrize(
    ("change", "undo", "name"),
    [
        (lambda: np.random.random(), lambda: None, "NumPy's random state"),
        (lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True), "torch's grad mode"),
        (lambda: os.chdir("/"), lambda: None, "the working directory"),
        (
            lambda: torch.set_float32_matmul_precision("high"),
            lambda: torch.set_float32_matmul_precision("highest"),
            "torch's float32 matmul precision",
        ),
    ],
    ids=["random state", "grad mode", "folder", "precision"],
)
def test_a_changed_setting_is_named(change, undo, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    try:
        with isolation.recorded_changes() as changed:
            change()
    finally:
        undo()
    assert changed == [name]
    with pytest.raises(AssertionError, match=name):
        isolation.assert_nothing_changed(changed, "it")


def test_output_of_python_and_of_compiled_code_is_heard():
    import ctypes

    with isolation.recorded_output() as written:
        print("from Python")  # noqa: T201
        os.write(2, b"from a descriptor")
        ctypes.CDLL(None).puts(b"from C")
    assert any("from Python" in text for text in written)
    assert any("from a descriptor" in text and "from C" in text for text in written)
    with isolation.recorded_output() as silent:
        pass
    assert silent == []
