from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from mlff_core.config import apply_overrides, from_dict, load_config, save_config, to_dict
from mlff_core.errors import InputError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    kind: Literal["cosine", "plateau"] = "cosine"
    sizes: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise InputError(f"rate must be positive, got {self.rate}")


@dataclass(frozen=True)
class Outer:
    path: Path
    steps: int | None = None
    shuffle: bool = True
    inner: Inner = field(default_factory=Inner)
    several: tuple[Inner, ...] = ()
    switches: dict[str, bool] = field(default_factory=dict)


def test_a_config_survives_being_written_and_read(tmp_path):
    config = Outer(Path("a.h5"), 5, False, Inner(0.2, "plateau", (3,)), (Inner(), Inner(0.7)), {"rattle": True})
    assert load_config(Outer, save_config(tmp_path / "config.toml", config)) == config


def test_an_unset_key_stays_unset(tmp_path):
    config = Outer(Path("a.h5"))
    assert "steps" not in to_dict(config)
    assert load_config(Outer, save_config(tmp_path / "config.toml", config)) == config


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(InputError, match=r"unknown config key inner\.rat; did you mean inner\.rate\?"):
        from_dict(Outer, {"path": "a", "inner": {"rat": 1.0}})


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match="config key path is missing; it must be a path"):
        from_dict(Outer, {})


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"steps": 1.5}, "config key steps must be a whole number, got 1.5"),
        ({"steps": True}, "config key steps must be a whole number, got True"),
        ({"shuffle": 1}, "config key shuffle must be true or false, got 1"),
        ({"inner": {"kind": "linear"}}, "inner.kind must be one of 'cosine', 'plateau', got 'linear'"),
        ({"inner": {"sizes": [1, "b"]}}, r"inner.sizes\[1\] must be a whole number, got 'b'"),
        ({"inner": {"rate": "fast"}}, "inner.rate must be a number, got 'fast'"),
        ({"inner": 3}, "config key inner must be a table, got 3"),
        ({"inner": {"rate": -1}}, r"\[inner\] rate must be positive, got -1.0"),
        ({"switches": {"rattle": 2}}, "switches.rattle must be true or false, got 2"),
    ],
)
def test_the_error_for_a_wrong_value_names_key_value_and_what_is_allowed(plain, message):
    with pytest.raises(InputError, match=message):
        from_dict(Outer, {"path": "a", **plain})


def test_whole_numbers_are_numbers_too():
    assert from_dict(Outer, {"path": "a", "inner": {"rate": 2}}).inner.rate == 2.0


def test_overrides_change_values_and_make_tables():
    plain = {"path": "a", "inner": {"rate": 1.0}}
    changed = apply_overrides(plain, ["inner.rate=0.5", "inner.kind=plateau", "steps=7", "switches.md=true"])
    assert from_dict(Outer, changed) == Outer(Path("a"), 7, inner=Inner(0.5, "plateau"), switches={"md": True})
    assert plain["inner"] == {"rate": 1.0}


@pytest.mark.parametrize("override", ["rate", "=3", "inner..rate=3"])
def test_an_override_without_key_or_value_is_refused(override):
    with pytest.raises(InputError, match=r"must look like table\.key=value"):
        apply_overrides({}, [override])


def test_an_override_through_a_value_is_refused():
    with pytest.raises(InputError, match="path is a value, not a table"):
        apply_overrides({"path": "a"}, ["path.deep=3"])


@pytest.mark.parametrize(("text", "message"), [("a = ", "not valid TOML"), (None, "there is no config file")])
def test_a_bad_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "config.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(Outer, path)
