"""``mlff operators``: the path of the library that fused files need."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """Print the path of the library that fused files need.

    It is for the installed torch, and built first if necessary. Files written with
    `mlff export … --option operator=fused` need it: load it with torch.ops.load_library(PATH) before the file is
    opened. With mlff-hub installed, `import mlff_core.operators` does the same.
    """
    from mlff_core.kernels.operator_library import library_path

    click.echo(library_path())
