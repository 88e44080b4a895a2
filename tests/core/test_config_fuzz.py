"""Settings at random: read, or refused with one of our errors."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_core.config import apply_overrides, from_dict, load_config, to_toml
from mlff_core.data.label import LabelConfig
from mlff_core.data.recipe import GenerateConfig
from mlff_core.errors import InputError
from mlff_core.models.committee import Committee
from mlff_core.training.trainer import TrainConfig
from mlff_plugins.active.settings import ActiveConfig

LIMITS = settings(settings.get_profile("fuzz"), max_examples=50)
CONFIGS = st.sampled_from([TrainConfig, LabelConfig, GenerateConfig, ActiveConfig, Committee])
KEYS = st.sampled_from(
    [
        "data",
        "path",
        "model",
        "hidden",
        "cutoff",
        "elements",
        "optimizer",
        "lr",
        "betas",
        "clip",
        "stop",
        "max_steps",
        "loss",
        "energy_weight",
        "batch",
        "atoms",
        "seed",
        "out",
        "kinds",
        "rattle",
        "n",
        "sigma_max",
        "members",
        "train",
        "teacher",
        "teacher_options",
        "test",
        "sampling",
        "time_ps",
        "max_force",
        "calibration",
        "energy",
        "log",
        "card",
    ]
)
NUMBERS = st.sampled_from([0, 1, -1, 2**63, 10**11, 0.5, -0.5, 1e300, 1e-300, float("nan"), float("inf")])
VALUES = st.recursive(
    NUMBERS | st.booleans() | st.text(max_size=4) | st.sampled_from(["H", "adamw", "auto", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@LIMITS
@given(kind=CONFIGS, plain=st.dictionaries(KEYS, VALUES, max_size=5))
def test_tables_at_random_are_read_or_refused(kind, plain):
    try:
        read = from_dict(kind, plain)
    except InputError:
        return
    assert isinstance(read, kind)
    assert "nan" not in to_toml(read)


@LIMITS
@given(kind=CONFIGS, text=st.text(alphabet='ab=[]{}",.#\n\0é1e', max_size=60), binary=st.binary(max_size=4))
def test_files_at_random_are_read_or_refused(tmp_path, kind, text, binary):
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode() + binary)
    try:
        load_config(kind, path)
    except InputError:
        return


@LIMITS
@given(kind=CONFIGS, keys=st.lists(KEYS, min_size=1, max_size=3), value=VALUES, base=st.dictionaries(KEYS, VALUES))
def test_overrides_at_random_are_read_or_refused(kind, keys, value, base):
    try:
        from_dict(kind, apply_overrides(base, [f"{'.'.join(keys)}={json.dumps(value)}"]))
    except InputError:
        return


def test_a_file_nested_deeply_is_refused(tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text("x = " + "[" * 20_000 + "]" * 20_000)
    with pytest.raises(InputError, match="nested too deeply"):
        load_config(TrainConfig, path)
