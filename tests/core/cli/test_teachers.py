"""``mlff teachers list``."""

from __future__ import annotations

import json
import subprocess
import sys

from click.testing import CliRunner

from mlff_core.cli.main import cli


def rows():
    done = CliRunner().invoke(cli, ["teachers", "list", "--json"])
    assert done.exit_code == 0, done.output
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_every_teacher_is_a_row_that_says_what_it_can_do():
    found = rows()
    assert {"so3lr", "gfn2-xtb", "gfn1-xtb", "orb", "ase:module.Class"} <= set(found)
    assert found["so3lr"]["elements"] == "H C N O F P S Cl"
    assert (found["so3lr"]["charge"], found["so3lr"]["spin"], found["so3lr"]["stress"]) == (True, False, True)
    assert (found["gfn2-xtb"]["elements"], found["gfn2-xtb"]["spin"]) == ("H–Rn", True)
    assert (found["sevennet"]["elements"], found["sevennet"]["charge"]) == ("H–Bi Ac–Pu", False)
    assert found["orb"]["licence"] == "Apache-2.0"


def test_the_times_of_the_teachers_are_those_of_the_benchmark():
    from mlff_plugins.teachers.speed import RESULTS

    found, measured = rows(), json.loads(RESULTS.read_text())
    assert measured["machine"]["torch_threads"] == 1
    assert {"so3lr", "gfn2-xtb", "sevennet", "chgnet", "pyscf"} <= set(measured["ms_per_atom"])
    for name, times in measured["ms_per_atom"].items():
        assert found[name]["ms_per_atom"] == times
        assert times
        assert all(ms > 0 for ms in times.values())
    assert found["orb"]["ms_per_atom"] == {}


def test_a_missing_teacher_comes_with_the_line_that_installs_it():
    for row in rows().values():
        assert row["status"] in {"ready", "missing", "broken"}
        assert (row["status"] == "missing") == bool(row["install_hint"])


def test_the_table_fits_words_and_names_every_teacher():
    done = CliRunner().invoke(cli, ["teachers", "list"], env={"COLUMNS": "160"})
    assert done.exit_code == 0
    assert "so3lr" in done.stdout
    assert "H C N O F P S Cl" in done.stdout
    assert "(crystal)" in done.stdout


def test_listing_teachers_imports_no_torch_and_no_engine():
    code = (
        "import sys; from mlff_core.cli.teachers import teacher_rows; teacher_rows();"
        "print([m for m in ('torch', 'tblite', 'so3krates_torch', 'orb_models', 'sevenn') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
