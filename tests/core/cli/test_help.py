"""The help of commands: the examples in it are command lines that the commands accept."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from mlff_core.cli.main import build


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Give every command that is not a group, with its path on the command line."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from leaves(child, f"{path} {name}")


COMMANDS = dict(leaves(build(), "mlff"))
EXAMPLES = [
    (path, line.strip())
    for path, command in COMMANDS.items()
    for line in re.findall(r"^ +mlff .*$", command.help or "", re.MULTILINE)
]


@pytest.mark.parametrize(("path", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_an_example_in_the_help_is_accepted_by_its_command(path, line):
    assert f"{line} ".startswith(f"{path} ")
    command = COMMANDS[path]
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False  # the files of the examples are not here
    command.make_context(path, line.removeprefix(path).split())


def test_the_commands_that_users_begin_with_have_examples():
    have = {path for path, _ in EXAMPLES}
    begin = ("predict", "md", "relax", "train", "validate", "compare", "export", "data generate", "data label")
    assert {f"mlff {name}" for name in begin} <= have


def test_every_command_that_takes_something_has_an_example():
    have = {path for path, _ in EXAMPLES} | {"mlff completion"}  # its lines begin with eval
    lacking = [
        path
        for path, command in COMMANDS.items()
        if path not in have and any(isinstance(parameter, click.Argument) for parameter in command.params)
    ]
    assert lacking == []
