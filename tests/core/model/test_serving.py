"""Exports and kernels that support some terms refuse a student with others, with a clear error."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.model.architectures import (
    ARCHITECTURES,
    TERMS,
    computes_as_written,
    describe_config,
    describe_terms,
    make_student,
)
from mlff_core.model.edge_graph import EdgeGraph
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.scripted import ScriptedStudent
from mlff_core.model.serving import Serves
from mlff_core.model.zbl import ZBLRepulsion

CONFIG = PaiNNConfig(elements=(1, 6, 8), hidden=8, n_layers=2, n_radial=6, cutoff=4.0)


@pytest.fixture
def extended(make_attraction):
    """A student with a term that no kernel has."""
    return PaiNN(CONFIG, [ZBLRepulsion.make(CONFIG), make_attraction(CONFIG, 7.0)])


@pytest.mark.parametrize("make", [EdgeGraph, lambda model: ScriptedStudent(model, 1.0)], ids=["graph", "scripted"])
def test_exports_name_the_term_they_do_not_compute(make, extended):
    with pytest.raises(
        UnsupportedError, match=r"has the term 'attraction', which .* \(its terms: zbl\); use an engine"
    ):
        make(extended)
    make(PaiNN(CONFIG))


def test_a_term_that_is_always_added_must_be_there():
    without = PaiNN(replace(CONFIG, core=0.0), [])
    with pytest.raises(UnsupportedError, match="lacks the term 'zbl', which the kernel always adds; use another"):
        Serves("the kernel", "use another").check(without)
    Serves("the kernel", "use another", needs=frozenset()).check(without)


def test_another_architecture_is_refused_by_name():
    class Other(PaiNN):
        architecture = "Other"

    with pytest.raises(UnsupportedError, match="computes PaiNN, but this is a Other; use another"):
        Serves("the kernel", "use another").check(Other(CONFIG))


def test_only_classes_of_the_tables_compute_as_they_are_written(extended, monkeypatch, make_attraction):
    assert computes_as_written(PaiNN(CONFIG))
    assert not computes_as_written(extended)
    monkeypatch.setitem(TERMS, "attraction", type(make_attraction(CONFIG, 7.0)))
    assert computes_as_written(extended)

    class Stronger(ZBLRepulsion):
        pass

    assert not computes_as_written(PaiNN(CONFIG, [Stronger.make(CONFIG)]))


def test_a_student_is_made_again_from_its_description(extended, monkeypatch, make_attraction):
    monkeypatch.setitem(TERMS, "attraction", type(make_attraction(CONFIG, 7.0)))
    terms = describe_terms(extended)
    assert terms == [{"name": "zbl"}, {"name": "attraction", "cutoff": 7.0}]
    again = make_student("PaiNN", describe_config(extended), terms)
    assert again.config == CONFIG
    assert again.cutoff == 7.0
    again.load_state_dict(extended.state_dict())
    torch.testing.assert_close(again.terms["attraction"].depth, extended.terms["attraction"].depth)
    assert describe_terms(make_student("PaiNN", describe_config(extended))) is None


def test_every_architecture_and_term_stands_in_its_table_by_its_own_name():
    assert all(name == kind.architecture for name, kind in ARCHITECTURES.items())
    assert all(name == kind.name for name, kind in TERMS.items())


def test_unknown_architectures_and_terms_are_refused():
    with pytest.raises(UnsupportedError, match="'Transformer' model; this version knows PaiNN"):
        make_student("Transformer", {})
    with pytest.raises(UnsupportedError, match="term 'magic'; this version knows zbl"):
        make_student("PaiNN", describe_config(PaiNN(CONFIG)), [{"name": "magic"}])
