import json
import math

import pytest

from mlff_core.cli.json_text import json_text
from mlff_core.errors import MlffError


def test_plain_values_are_written_as_json_writes_them():
    content = {"a": [1, 2.5, None], "b": "text"}
    assert json_text(content, indent=2) == json.dumps(content, indent=2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_is_refused_with_its_place_or_written_as_null(value):
    content = [{"energy": 1.0, "forces": [[0.0, value, 0.0]]}]
    with pytest.raises(MlffError, match=r"\[0\]\.forces\[0\]\[1\] is -?(nan|inf)"):
        json_text(content)
    assert json.loads(json_text(content, with_nulls=True)) == [{"energy": 1.0, "forces": [[0.0, None, 0.0]]}]
    assert json.loads(json_text({"a": (value,)}, with_nulls=True)) == {"a": [None]}


def test_other_errors_of_json_pass():
    with pytest.raises(TypeError, match="set"):
        json_text({"a": {1}})
