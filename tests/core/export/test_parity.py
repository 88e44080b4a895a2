import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from mlff_core.cli.main import cli
from mlff_core.errors import InputError
from mlff_core.export.parity import certify
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.plugins.engine import Engine
from mlff_core.plugins.exporter import Exporter, Variant
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.host import PluginHost
from mlff_core.plugins.runtime import Runtime
from mlff_core.testing.reference_potential import PairPotential, charged_student, small_student
from mlff_core.tolerance import Tolerance


class Honest(Engine):
    name = "honest"
    summary = "gives what it is given"
    capabilities = frozenset({"periodic", "slab", "stress"})

    def bind(self, potential, options=None):
        return potential

    def evaluate(self, bound, batch):
        want = {"energy", "forces"} | ({"stress"} if batch.pbc.all() else set())
        return bound.predict(batch, want=want)


class Charged(Honest):
    name = "charged"
    capabilities = frozenset({"periodic", "slab", "stress", "charges"})

    def evaluate(self, bound, batch):
        right = super().evaluate(bound, batch)
        return replace(right, charges=bound.predict(batch, want={"energy", "charges"}).charges)


class OtherCharges(Charged):
    name = "other-charges"

    def evaluate(self, bound, batch):
        right = super().evaluate(bound, batch)
        return replace(right, charges=right.charges + 1e-4)


class LostCharges(Charged):
    name = "lost-charges"

    def evaluate(self, bound, batch):
        return replace(super().evaluate(bound, batch), charges=None)


class WrongUnit(Honest):
    name = "wrong-unit"

    def evaluate(self, bound, batch):
        right = super().evaluate(bound, batch)
        # CODATA 1986 instead of today's hartree.
        return replace(right, forces=right.forces * 27.2113961 / 27.2113862 * 1.0001)


class WrongStress(Honest):
    name = "wrong-stress"

    def evaluate(self, bound, batch):
        right = super().evaluate(bound, batch)
        return right if right.stress is None else replace(right, stress=-right.stress)


class Molecules(Honest):
    name = "molecules"
    capabilities = frozenset()


class Absent(Honest):
    name = "absent"
    requires = ("package-that-nobody-has",)
    install_hint = "pip install package-that-nobody-has"


class Crashing(Honest):
    name = "crashing"

    def evaluate(self, bound, batch):
        raise ZeroDivisionError("planted")


class DropsAnAtom(Honest):
    name = "drops-an-atom"

    def evaluate(self, bound, batch):
        right = super().evaluate(bound, batch)
        return replace(right, forces=right.forces[1:])


def host_of(*engines):
    class Plugin:
        @hookimpl
        def mlff_register_engines(self):
            return engines

    host = PluginHost()
    host.register(Plugin(), "planted")
    return host


def statuses(*engines, **options):
    report = certify(PairPotential(), host_of(*engines), **options)
    return report, {(row.engine, row.case): row.status for row in report.rows}


def test_an_honest_engine_passes_every_case_with_its_time():
    report, found = statuses(Honest())
    assert report.ok
    assert set(found.values()) == {"ok"}
    assert len(found) >= 9
    assert all(row.ms > 0 and row.delta_forces == 0 for row in report.rows)


def test_a_wrong_unit_factor_fails():
    report, found = statuses(Honest(), WrongUnit())
    assert not report.ok
    assert found[("wrong-unit", "ethanol")] == "fail"
    assert found[("honest", "ethanol")] == "ok"


def test_charges_of_atoms_are_compared_where_an_engine_has_them():
    student = charged_student(dtype=torch.float64)
    report = certify(student, host_of(Charged(), OtherCharges(), LostCharges(), Honest()))
    rows = {name: [row for row in report.rows if row.engine == name] for name in {row.engine for row in report.rows}}
    assert all(row.status == "ok" and row.delta_charges == 0 for row in rows["charged"])
    assert all(row.status == "fail" and row.delta_charges == pytest.approx(1e-4) for row in rows["other-charges"])
    assert all(row.status == "fail" and row.message == "no charges were returned" for row in rows["lost-charges"])
    assert all(row.status == "ok" and row.delta_charges is None for row in rows["honest"])


def test_a_wrong_stress_fails_in_the_crystal():
    report, found = statuses(WrongStress())
    assert not report.ok
    assert found[("wrong-stress", "triclinic crystal")] == "fail"
    assert found[("wrong-stress", "ethanol")] == "ok"


def test_what_an_engine_does_not_offer_is_unsupported_and_no_failure():
    report, found = statuses(Molecules())
    assert report.ok
    assert found[("molecules", "triclinic crystal")] == "unsupported"


def test_a_missing_engine_is_a_row_with_the_install_line():
    report, _ = statuses(Honest(), Absent())
    row = next(row for row in report.rows if row.engine == "absent")
    assert row.status == "missing"
    assert "pip install package-that-nobody-has" in row.message
    assert report.versions["package-that-nobody-has"] == "not installed"


def test_a_crash_is_a_failed_row():
    report, found = statuses(Crashing())
    assert not report.ok
    assert set(found.values()) == {"fail"}


def test_forces_of_too_few_atoms_are_a_failed_row():
    report, found = statuses(DropsAnAtom())
    assert set(found.values()) == {"fail"}
    assert "forces has shape (8, 3), wanted (9, 3)" in next(r.message for r in report.rows if r.case == "ethanol")


def test_nothing_compared_is_no_certificate():
    assert not statuses(Absent())[0].ok


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(InputError, match="honest"):
        statuses(Honest(), only=("onest",))


def test_the_command_prints_the_certificate_and_its_exit_status(tmp_path):
    student = small_student()
    model = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    out = tmp_path / "report.json"
    result = CliRunner().invoke(
        cli, ["parity", str(model), "--engine", "ase", "--engine", "torchscript", "--json", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads(out.read_text())
    assert set(report) == {"model", "sha256", "versions", "rows", "ok"}
    assert {row["engine"] for row in report["rows"]} == {"ase", "torchscript"}
    assert {row["status"] for row in report["rows"]} == {"ok"}


class PlantedFile(Exporter):
    """Writes a name; the variant 'rough' is opened with forces scaled by 3 %."""

    name = "planted"
    summary = "planted"
    suffix = ".planted"

    def __init__(self, allowed):
        self.variants = {"rough": Variant({"rough": True}, Tolerance(forces=allowed))}

    def export(self, potential, path, options=None):
        path.write_text("rough" if options else "exact")


class PlantedRuntime(Runtime):
    name = "planted"
    summary = "planted"
    suffixes = (".planted",)

    def open(self, path, *, device="cpu"):
        factor = 1.03 if path.read_text() == "rough" else 1.0

        class Opened(PairPotential):
            def predict_checked(self, batch, want, edges=None):
                right = super().predict_checked(batch, want, edges)
                return replace(right, forces=factor * right.forces)

        return Opened()


def certified_files(allowed):
    class Plugin:
        @hookimpl
        def mlff_register_exporters(self):
            return [PlantedFile(allowed)]

        @hookimpl
        def mlff_register_runtimes(self):
            return [PlantedRuntime()]

    host = PluginHost()
    host.register(Plugin(), "planted")
    return certify(PairPotential(), host)


@pytest.mark.parametrize(("allowed", "status"), [(0.05, "ok"), (0.01, "fail")])
def test_a_form_that_gives_accuracy_away_is_listed_apart_with_its_own_tolerance(allowed, status):
    report = certified_files(allowed)
    row = {(row.engine, row.case): row for row in report.rows}
    assert row[("planted", "ethanol")].status == "ok"
    assert row[("planted-rough", "ethanol")].status == status
    assert f"own tolerance: 0.02 meV/atom, {allowed} of the largest force" in row[("planted-rough", "ethanol")].message
    assert report.reduced == {"planted-rough"}
    assert report.ok == (status == "ok")
