"""Progress of a run in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mlff_core.training.progress import TerminalReporter


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"energy": 0.001234, "forces": 0.25}, "loss 0.2623 (energy 0.00123, forces 0.25), lr 0.001"),
        (
            {"energy": 0.001, "forces": 0.25, "atom_energies": 0.5, "hessian": 12.5},
            "(energy 0.001, forces 0.25, atom energies 0.5, hessian 12.5), lr",
        ),
    ],
)
def test_the_live_line_has_the_terms_of_the_loss_the_rate_and_the_time_left(terms, expected):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=250, color_system=None)
    with TerminalReporter(console) as reporter:
        values = {"loss": 0.26234, **terms, "gradient_norm": 1.0, "lr": 1e-3, "epoch": 1.5}
        reporter.step(120, 0.25, values, 431.2, 3725.0)
    shown = screen.getvalue()
    assert "step 120, epoch 1.50, " in shown
    assert expected in shown
    assert "431 structures/s, 1:02:05 left" in shown
