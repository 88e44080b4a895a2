"""``python -m mlff_core.cli``: the same as ``mlff``."""

from mlff_core.cli.main import main

main()
