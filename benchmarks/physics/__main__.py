"""The long checks of the physics of a student: ``python -m benchmarks physics CHECK MODEL`` in the repository's root.

``page`` makes the page of the documentation from all results.
"""

from __future__ import annotations

import logging

import click

from benchmarks.physics import dimers, frequencies, langevin, nve, page, relaxation, s66, torsions, water
from mlff_core.errors import MlffError


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except MlffError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Run a physics check of MODEL (a name or a file). A killed check continues when the command is given again."""
    logging.basicConfig(format="%(message)s")


for module in (dimers, s66, torsions, relaxation, frequencies, water, nve, langevin, page):
    group.add_command(module.command)


def main() -> None:
    """Run the check on the command line."""
    group(prog_name="python -m benchmarks physics")


if __name__ == "__main__":
    main()
