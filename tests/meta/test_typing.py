import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[1] / "typing" / "plugin_of_a_stranger.py"


@pytest.mark.slow  # mypy without a cache reads torch's stubs: 20 s
def test_a_strangers_plugin_is_well_typed(tmp_path):
    pytest.importorskip("mypy")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "--config-file", "", str(PLUGIN)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
