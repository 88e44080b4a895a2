"""Numbers that no setting may have, in every config."""

import math
from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

from mlff_core.config import from_dict
from mlff_core.data.label import LabelConfig
from mlff_core.data.recipe import GenerateConfig
from mlff_core.dynamics import MDSettings
from mlff_core.errors import InputError
from mlff_core.training.loss import LossConfig
from mlff_core.training.optimizer_section import OptimizerSection
from mlff_core.training.settings import ModelSection
from mlff_core.training.trainer import TrainConfig
from mlff_plugins.active.settings import ActiveConfig

NEEDED = {TrainConfig: {"data": {"path": "x.h5"}}, ActiveConfig: {"train": "x.toml", "teacher": "t", "test": "x.h5"}}


def float_keys(kind, path=()):
    """Yield the dotted keys of all settings that are a float, those of the tables inside too."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        hint = hints[field.name]
        options = get_args(hint) or (hint,)
        if is_dataclass(hint):
            yield from float_keys(hint, (*path, field.name))
        elif float in options and field.init and tuple not in (getattr(hint, "__origin__", None),):
            yield kind.__name__, (*path, field.name)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300])
@pytest.mark.parametrize("kind", [TrainConfig, LabelConfig, GenerateConfig, ActiveConfig])
def test_no_setting_is_infinite_or_no_number(kind, value):
    keys = list(float_keys(kind))
    assert len(keys) >= 2
    for _, key in keys:
        plain = {
            name: dict(table) if isinstance(table, dict) else table for name, table in NEEDED.get(kind, {}).items()
        }
        table = plain
        for name in key[:-1]:
            table = table.setdefault(name, {})
        table[key[-1]] = value
        with pytest.raises(InputError, match=rf"{'.'.join(key)} must be a finite number"):
            from_dict(kind, plain)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerSection(lr=math.inf), "lr must be at most 10, got inf"),
        (lambda: OptimizerSection(lr=math.nan), "lr must be above 0, got nan"),
        (lambda: OptimizerSection(lr=-1e-3), "lr must be above 0"),
        (lambda: OptimizerSection(lr=1e300), "lr must be at most 10"),
        (lambda: OptimizerSection(weight_decay=math.inf), "weight_decay must be at most 1000"),
        (lambda: OptimizerSection(clip=math.inf), "clip must be finite"),
        (lambda: LossConfig(forces_weight=math.inf), "forces_weight must be 0 to 1e+09, got inf"),
        (lambda: LossConfig(energy_delta=math.nan), "energy_delta must be positive"),
        (lambda: ModelSection(cutoff=1e22), "cutoff must be at most 100, got 1e+22"),
        (lambda: ModelSection(cutoff=math.nan), "cutoff must be above 0"),
        (lambda: ModelSection(hidden=100_000), "hidden must be at most 4096, got 100000"),
        (lambda: MDSettings("nve", 10**13), "n_steps must be at most 1,000,000,000,000"),
        (lambda: MDSettings("nve", 1, seed=-1), "seed must not be negative"),
        (
            lambda: from_dict(TrainConfig, {"data": {"path": "x"}, "seed": 2**70}),
            "seed must be a whole number of 64 bits",
        ),
        (lambda: from_dict(TrainConfig, {"data": {"path": "a\0b"}}), "data.path must be a path"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value)
