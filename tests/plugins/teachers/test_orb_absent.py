"""Orb without its package."""

from __future__ import annotations

import pytest

from mlff_core.errors import MissingDependencyError
from mlff_core.plugins import host as plugins


@pytest.mark.skipif(not plugins.teacher("orb").missing(), reason="orb-models is installed")
def test_without_its_package_orb_says_what_to_install():
    with pytest.raises(MissingDependencyError, match="pip install 'orb-models"):
        plugins.teacher("orb").load({"weights_path": "orb-v2.ckpt"})
