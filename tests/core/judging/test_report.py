"""The page is self-contained, shows the results, and cannot be broken by text in the data."""

import json
import re
from html.parser import HTMLParser
from importlib import metadata

import numpy as np
import pytest
import torch
from ase.build import molecule as ase_molecule

from mlff_core.errors import MissingDependencyError
from mlff_core.judging.evaluate import evaluate
from mlff_core.judging.physics.suite import run_physics
from mlff_core.judging.report.page import ReportedModel, page, write_page
from mlff_core.judging.report.plots import force_figure
from mlff_core.judging.report.worst import worst_structures
from mlff_core.structures.reading import batch_from_atoms


@pytest.fixture(name="judged", scope="module")
def fixture_judged(springs, labelled_file):
    data = labelled_file(n_molecules=8)
    student = springs(k=24.0)
    evaluation = evaluate(student, data)
    return ReportedModel(evaluation, worst_structures(evaluation, data, student))


@pytest.fixture(name="text", scope="module")
def fixture_text(judged):
    return page([judged])


class Tags(HTMLParser):
    """Collects tags, attributes and whether every tag was closed in order."""

    VOID = ("meta", "img", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.balanced = [], [], True
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.balanced = self.balanced and bool(self.open) and self.open.pop() == tag


def test_the_figure_has_six_panels_with_titles_and_units(judged):
    figure = force_figure(judged.evaluation)
    assert len(figure.axes) == 6
    assert all(axis.get_title() and axis.get_ylabel() for axis in figure.axes)
    assert judged.force_png.startswith(b"\x89PNG")


def test_drawing_changes_no_global_setting(judged):
    import matplotlib

    before = dict(matplotlib.rcParams)
    force_figure(judged.evaluation)
    assert dict(matplotlib.rcParams) == before


def test_the_page_needs_no_network_and_no_other_file(text):
    tags = Tags(text)
    assert tags.balanced
    assert not tags.open
    links = [value for _, name, value in tags.attributes if name in ("src", "href")]
    assert links
    assert all(value.startswith("data:image/png;base64,") for value in links)
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_shows_the_metrics_of_the_evaluation(judged, text):
    for name in ("force_mae", "force_rmse"):
        assert f"{judged.evaluation.metrics[name]:.4g}" in text
    assert "older convention" in text
    assert "40 structures of 8 molecules" in text


def test_text_in_the_data_cannot_become_markup(judged):
    from dataclasses import replace

    evil = "</script><img src=x onerror=alert(1)>"
    card = replace(judged.evaluation.card, name=evil, description=evil)
    worst = [{**entry, "smiles": evil} for entry in judged.worst]
    text = page([ReportedModel(replace(judged.evaluation, card=card), worst)])
    assert "<img src=x" not in text
    embedded = re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL).group(1)
    assert json.loads(embedded)[0]["smiles"] == evil


def test_the_worst_structures_are_rotated_but_not_deformed(judged, labelled_file):
    worst = judged.worst[0]
    structure = labelled_file(n_molecules=8).structure(worst["index"])
    for key, original in (("positions", structure.positions), ("reference", structure.forces)):
        gram = np.array(worst[key]) @ np.array(worst[key]).T
        centred = original - original.mean(axis=0) if key == "positions" else original
        np.testing.assert_allclose(gram, centred @ centred.T, atol=2e-3)
    rmse = np.sqrt(np.mean((np.array(worst["predicted"]) - np.array(worst["reference"])) ** 2))
    assert rmse == pytest.approx(worst["force_rmse"], abs=1e-3)


def test_several_models_are_shown_side_by_side(judged, springs, labelled_file):
    other = ReportedModel(evaluate(springs(k=21.0), labelled_file(n_molecules=8)))
    text = page([judged, other])
    assert "2 models compared" in text
    assert text.count('alt="Six-panel force analysis"') == 2


def test_physics_checks_are_on_the_page_with_their_verdicts(judged, springs):
    water = {"water": batch_from_atoms(ase_molecule("H2O"), dtype=torch.float64)}
    flawed = springs(force_error=torch.tensor([0.2, 0.0, 0.0]))
    checks = run_physics({"float64": flawed}, water, reference=springs(), length_ps=0.02)
    text = page([ReportedModel(judged.evaluation, (), checks)])
    assert '<span class="pass">passed</span>' in text
    assert '<span class="fail">failed</span>' in text
    assert "NVE drift, older convention" in text
    for caption in ("Energy conservation", "Dimer curves", "Harmonic frequencies"):
        assert f"<h3>{caption}" in text


def test_a_page_that_fails_leaves_the_older_one_and_no_other_files(judged, tmp_path, monkeypatch):
    write_page(tmp_path / "report.html", [judged])
    before = (tmp_path / "report.html").read_bytes()
    monkeypatch.setattr("mlff_core.judging.report.page.page", lambda judged: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_page(tmp_path / "report.html", [judged])
    assert (tmp_path / "report.html").read_bytes() == before
    assert [entry.name for entry in tmp_path.glob("*report*")] == ["report.html"]


def test_without_matplotlib_the_error_says_what_to_install(judged, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(MissingDependencyError, match=r"mlff-hub\[train\]"):
        force_figure(judged.evaluation)
