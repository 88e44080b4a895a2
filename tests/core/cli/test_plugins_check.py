"""``mlff plugins check`` runs the contract on the user's machine and reports the result."""

import json

import pytest
from click.testing import CliRunner

from mlff_core.cli.main import cli
from mlff_core.plugins.host import PluginHost
from mlff_core.testing import EngineContract, contract_for, run_contract, runner
from mlff_core.testing.engine_contract import CAPABILITIES


class Honest:
    @staticmethod
    def evaluate(bound, batch):
        return bound.predict(batch)


def provider(name, evaluate, requires=()):
    from mlff_core.plugins.engine import Engine

    def bind(self, potential, options=None):
        self.ensure_installed()
        potential.check(options["batch"])
        return potential

    members = {
        "name": name,
        "summary": "For a test.",
        "requires": requires,
        "install_hint": "pip install it",
        "bind": bind,
        "evaluate": lambda self, bound, batch: evaluate(bound, batch),
        "capabilities": frozenset({"charge"}),
        "__module__": __name__,
    }
    return type("Planted", (Engine,), members)()


def reversed_forces(bound, batch):
    right = bound.predict(batch)
    return type(right)(energy=right.energy, forces=-right.forces)


@pytest.fixture
def planted(monkeypatch):
    """A host with a correct engine, one that is wrong, and one that is not installed."""
    from mlff_core.plugins.hookspecs import hookimpl

    engines = [
        provider("honest", Honest.evaluate),
        provider("wrong", reversed_forces),
        provider("absent", Honest.evaluate, requires=("package-that-nobody-has>=3",)),
    ]

    class Plugin:
        @staticmethod
        @hookimpl
        def mlff_register_engines():
            return engines

    host = PluginHost()
    host.register(Plugin, "planted")
    for module in ("mlff_core.plugins.host", "mlff_core.cli.plugins_check"):
        monkeypatch.setattr(f"{module}.host", lambda: host)
    # The physics of two tests is enough to see the command at work.
    keep = ("test_describes_itself", "test_a_molecule_equals_predict", "test_a_slab_equals_predict")
    for name in runner.test_names(EngineContract):
        if name not in keep:
            monkeypatch.delattr(EngineContract, name)


def run(*arguments):
    return CliRunner().invoke(cli, ["plugins", "check", *arguments])


def test_an_honest_engine_exits_with_0(planted):
    result = run("honest")
    assert result.exit_code == 0, result.output
    assert "a molecule equals predict" in result.stdout
    assert result.stderr.strip() == "honest: 2 ok, 0 failed, 1 skipped"


def test_the_table_is_whole_on_a_narrow_terminal(planted, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printed = run("honest").stdout
    assert "…" not in printed
    assert all(word in printed for word in ("engine", "skipped", "status"))


def test_a_wrong_engine_exits_with_1_and_says_what_is_wrong(planted):
    assert "failed: a molecule equals predict: pair-potential, float32, call 1: force" in run("wrong").stdout
    result = run("wrong", "--json")
    assert result.exit_code == 1
    rows = {row["test"]: row for row in json.loads(result.stdout)}
    assert rows["a molecule equals predict"]["status"] == "failed"
    assert "force" in rows["a molecule equals predict"]["message"]
    assert rows["a slab equals predict"]["status"] == "skipped"
    assert set(rows["describes itself"]) == {"name", "kind", "test", "status", "message", "wall_time_s"}


def test_an_absent_engine_says_what_to_install(planted):
    result = run("absent")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "package-that-nobody-has>=3 is not installed" in result.stderr
    assert "pip install it" in result.stderr


def test_an_unknown_name_says_what_there_is(planted):
    result = run("onest")
    assert result.exit_code == 1
    assert "did you mean 'honest'?" in result.stderr


def test_every_test_of_the_contract_has_a_sentence():
    for name in runner.test_names(EngineContract):
        assert getattr(EngineContract, name).__doc__.strip().endswith("."), name


def test_the_ready_made_contract_checks_the_provider_it_names(planted):
    contract = contract_for("engine", "wrong")
    assert issubclass(contract, EngineContract)
    assert contract.engine.name == "wrong"
    assert {result.status for result in run_contract(contract)} == {"ok", "failed", "skipped"}


def test_a_crash_in_a_test_is_a_failure_and_not_the_end():
    class Crashing:
        def test_one(self):
            raise ZeroDivisionError("planted")

        def test_two(self):
            pass

    one, two = run_contract(Crashing)
    assert (one.name, one.status, one.message) == ("one", "failed", "ZeroDivisionError: planted")
    assert two.status == "ok"


def test_capabilities_are_those_the_engine_documents():
    from mlff_core.plugins.engine import Engine

    for capability in CAPABILITIES:
        assert f'"{capability}"' in Engine.__doc__
