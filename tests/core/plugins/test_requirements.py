"""The one-line error for packages that are missing or too old."""

from importlib import metadata

import pytest

from mlff_core.errors import MissingDependencyError
from mlff_core.plugins.engine import Engine
from mlff_core.plugins.requirements import require, unmet

NUMPY = metadata.version("numpy")


class NeedsAnotherNumPy(Engine):
    """Its range excludes the NumPy that is installed."""

    name = "needs-another-numpy"
    requires = (f"numpy!={NUMPY}", "pluggy")
    install_hint = 'pip install "numpy<1"'

    def bind(self, potential, options=None):
        self.ensure_installed()
        return potential

    def evaluate(self, bound, batch):
        return bound.predict(batch)


def test_the_error_for_a_version_outside_the_range_has_both_versions_and_the_install_command():
    with pytest.raises(MissingDependencyError) as error:
        NeedsAnotherNumPy().bind(None)
    assert str(error.value) == (
        f"needs-another-numpy cannot be used: numpy!={NUMPY} is wanted, numpy {NUMPY} is installed. "
        'Install with: pip install "numpy<1"'
    )
    assert NeedsAnotherNumPy().missing() == (f"numpy!={NUMPY} is wanted, numpy {NUMPY} is installed",)


def test_what_is_met_or_does_not_apply_here_is_no_problem():
    assert unmet((f"numpy=={NUMPY}", "no-such-package; python_version < '3'")) == ()
    require("this", (f"numpy>={NUMPY}",), "pip install numpy")
