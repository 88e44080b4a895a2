"""Write ``docs/cli.md`` from the commands themselves: ``python docs/make_cli_page.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).with_name("cli.md")
HEADER = """# Command line

Made by `python docs/make_cli_page.py`; a test compares it with the commands.
"""


def page() -> str:
    """Return the page: the help of every command, built-in and of the built-in plugins."""
    from mlff_core.cli.main import build

    return "\n".join([HEADER, *_sections(build(), "mlff", None)]) + "\n"


def _sections(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(
        command, info_name=path.split()[-1], parent=parent, max_content_width=100, terminal_width=100
    )
    yield f"## `{path}`\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None:
                yield from _sections(child, f"{path} {child_name}", context)


if __name__ == "__main__":
    os.environ["MLFF_STRICT_PLUGINS"] = "1"
    PAGE.write_text(page())
