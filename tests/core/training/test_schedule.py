from __future__ import annotations

import pytest

from mlff_core.errors import InputError
from mlff_core.training.schedule import Schedule, ScheduleConfig


def test_the_rate_rises_linearly():
    schedule = Schedule(ScheduleConfig(kind="constant", warmup_steps=4))
    assert [schedule.factor(step, 0.0) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_a_cosine_ends_at_the_final_factor():
    schedule = Schedule(ScheduleConfig(kind="cosine", warmup_steps=0, final_factor=0.1))
    assert [schedule.factor(9, p) for p in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 0.55, 0.1, 0.1])


def test_a_plateau_lowers_the_rate_once_patience_runs_out():
    schedule = Schedule(ScheduleConfig(kind="plateau", warmup_steps=0, plateau_patience=2, plateau_factor=0.5))
    factors = []
    for value in (1.0, 1.1, 1.2, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9):
        schedule.validated(value)
        factors.append(schedule.factor(5, 0.0))
    assert factors == [1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_a_schedule_continues_from_its_state():
    first = Schedule(ScheduleConfig(kind="plateau", warmup_steps=0, plateau_patience=2))
    for value in (1.0, 1.1):
        first.validated(value)
    second = Schedule(ScheduleConfig(kind="plateau", warmup_steps=0, plateau_patience=2))
    second.load_state_dict(first.state_dict())
    for schedule in (first, second):
        schedule.validated(1.1)
    assert second.factor(0, 0.0) == first.factor(0, 0.0) == 0.5


@pytest.mark.parametrize("settings", [{"warmup_steps": -1}, {"final_factor": 2.0}, {"plateau_patience": 0}])
def test_an_impossible_schedule_is_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        ScheduleConfig(**settings)
