"""Write ``docs/cli.md`` from the commands themselves: ``python docs/make_cli_page.py``."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).with_name("cli.md")
HEADER = """# Command line

This page lists every command of `mlff` with its arguments and options. `mlff COMMAND --help` prints the same:

```console
$ mlff --help
$ mlff md --help
```

Results go to standard output, messages to standard error. The exit status is 0 after success, 1 after an error, and 2
if the command line itself is wrong. MODEL is the name of a model (`mlff models list`) or the path of a model file.

The page is written by `python docs/make_cli_page.py`; a test compares it with the commands.
"""
WIDTH = 120
RANGE = re.compile(r"^(?:(\S+?)(<=?))?x(?:(>=?|<=?)(\S+))?$")
"""How click writes the range of a number: ``x>=1``, ``0<=x<=1``, ``0<x``."""
BOUNDS = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}
MIRRORED = {"<=": ">=", "<": ">"}


def page() -> str:
    """Return the page: the help of every command, built-in and of the built-in plugins."""
    from mlff_core.cli.main import build

    return "\n".join([HEADER, *_sections(build(), "mlff", None)]) + "\n"


def _sections(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=path.split()[-1], parent=parent)
    yield f"## `{path}`\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```console\n$ {path} {usage}\n```\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        # A form feed ends what is shown to users, a line of \b keeps the lines of its paragraph.
        yield _paragraph(paragraph.split("\f")[0]) + "\n"
    yield from _options(command, context)
    if isinstance(command, click.Group):
        children = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        shown = [(name, child) for name, child in children if child is not None and not child.hidden]
        yield "| command | what it does |\n|---|---|"
        for name, child in shown:
            link = f"{path} {name}".replace(" ", "-")
            yield f"| [`{path} {name}`](#{link}) | {_cell(child.get_short_help_str(limit=1000))} |"
        yield ""
        for name, child in shown:
            yield from _sections(child, f"{path} {name}", context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    rows = [
        (param, record)
        for param in command.get_params(context)
        if isinstance(param, click.Option) and "--help" not in param.opts
        if (record := param.get_help_record(context)) is not None
    ]
    if rows:
        yield "| option | meaning |\n|---|---|"
        for param, (names, text) in rows:
            yield f"| {_names(param, names)} | {_cell(_meaning(param, text))} |"
        yield ""


def _names(param: click.Option, names: str) -> str:
    """Return an option's names and the kind of its value, as code; the values of a choice are in its meaning."""
    names = names.replace(" RANGE", "")
    if isinstance(param.type, click.Choice):
        names = re.sub(r"\s+\[.*\]$", "", names)
    return ", ".join(f"`{name}`" for name in names.replace("|", r"\|").split(", "))


def _meaning(param: click.Option, text: str) -> str:
    """Return an option's help, with its choices, default and range as sentences."""
    found = re.search(r"\s*\[([^][]*)\]$", text)
    extras = found[1].split("; ") if found else []
    sentences = [text[: found.start()] if found else text]
    if isinstance(param.type, click.Choice):
        sentences.append("One of " + ", ".join(f"`{choice}`" for choice in param.type.choices) + ".")
    for extra in extras:
        if extra == "required":
            sentences.append("**Required.**")
        elif extra.startswith("default: "):
            sentences.append(f"Default: `{extra.removeprefix('default: ')}`.")
        else:
            sentences.append(_range(extra))
    return " ".join(sentence for sentence in sentences if sentence)


def _range(extra: str) -> str:
    """Return a range as a sentence, ``x>=1`` as ``At least 1.``; anything else as it stands."""
    found = RANGE.match(extra)
    if found is None:
        return f"({extra})"
    low, low_sign, sign, bound = found.groups()
    parts = [f"{BOUNDS[MIRRORED[low_sign]]} {low}"] if low else []
    parts += [f"{BOUNDS[sign]} {bound}"] if sign else []
    return " and ".join(parts).capitalize() + "."


def _paragraph(text: str) -> str:
    if text.startswith("\b"):
        return "```text\n" + text.lstrip("\b\n") + "\n```"
    return textwrap.fill(_escaped(" ".join(text.split())), WIDTH, break_long_words=False, break_on_hyphens=False)


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", r"\|")


def _escaped(text: str) -> str:
    """Return a text in which only code is markup: what stands between backticks, and the names of options."""
    pieces = re.split(r"(`[^`]*`|\*\*Required\.\*\*|(?<!\S)--[a-z][a-z-]*)", text)
    code = [f"`{piece}`" if piece.startswith("--") else piece for piece in pieces[1::2]]
    plain = [re.sub(r"([<>*_\[\]])", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(piece for pair in zip(plain, [*code, ""], strict=True) for piece in pair)


if __name__ == "__main__":
    os.environ["MLFF_STRICT_PLUGINS"] = "1"
    PAGE.write_text(page())
