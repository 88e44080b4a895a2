"""``mlff data``: make, label, inspect, filter, split, merge and convert data sets; one file per sub-command."""

from __future__ import annotations

import click

from mlff_core.cli import (
    data_convert,
    data_filter,
    data_generate,
    data_info,
    data_label,
    data_merge,
    data_split,
    data_validate,
)


@click.group()
def command() -> None:
    """Generate, label, inspect and edit data sets."""


for _module in (data_convert, data_filter, data_generate, data_info, data_label, data_merge, data_split, data_validate):
    command.add_command(_module.command)
