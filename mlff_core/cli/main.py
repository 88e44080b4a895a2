"""The command ``mlff``: a group that imports a command's module when the command is used."""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mlff_core.cli.failures import line_of
from mlff_core.errors import MlffError

COMMANDS: dict[str, str] = {
    "charges": "Give a trained model charges of atoms.",
    "committee": "Combine models into a committee that estimates its uncertainty.",
    "compare": "Compare the errors of several models on one data set.",
    "completion": "Print a script by which a shell completes commands and options.",
    "data": "Generate, label, inspect and edit data sets.",
    "doctor": "Show versions, devices, the state of every plugin, and missing packages.",
    "export": "Write a model in another format, read it back and compare.",
    "judge": "Compare models with reference energies of a higher level.",
    "md": "Run molecular dynamics of a structure.",
    "models": "List, show, verify, add and remove models.",
    "operators": "Print the path of the library that fused files need.",
    "parity": "Check that every engine gives the same numbers.",
    "plugins": "List and check plugins.",
    "predict": "Compute energies, forces and stresses of the structures in a file.",
    "relax": "Relax structures to a minimum of the energy.",
    "teachers": "List teachers.",
    "train": "Train a student with the settings of a config file.",
    "tune": "Fine-tune a student to one system, to run inside the teacher's dynamics.",
    "validate": "Measure the errors of a model on a data set.",
}
"""Built-in commands and their one-line help, so that ``mlff --help`` imports none of them."""


class LazyGroup(click.Group):
    """A group whose built-in commands are the attribute ``command`` of ``mlff_core.cli.<name>``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, including those of plugins."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and return it."""
        if cmd_name in COMMANDS:
            command: click.Command = importlib.import_module(f"mlff_core.cli.{cmd_name}").command
            return command
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the first argument; an unknown one is refused with the nearest name."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"Did you mean {close[0]!r}?" if close else "'mlff --help' lists all."
            ctx.fail(f"There is no command {name!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing the built-in ones."""
        rows = []
        for name in self.list_commands(ctx):
            if name in COMMANDS:
                rows.append((name, COMMANDS[name]))
            elif (command := super().get_command(ctx, name)) is not None:
                rows.append((name, command.get_short_help_str(limit=80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line; print our own errors and those of the machine as one line and exit with status 1."""
        try:
            return super().main(*args, **options)
        except Exception as error:
            line = " ".join(str(error).splitlines()) if isinstance(error, MlffError) else line_of(error)
            if line is None:
                raise
            click.echo(f"Error: {line}", err=True)
            sys.exit(1)


def _print_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from mlff_core.cli.version import version_text

    click.echo(version_text())
    context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the versions of mlff and torch, the device and the kernel, and exit.",
)
@click.option("--verbose", "-v", is_flag=True, help="Say on standard error which kernel is used and what is compiled.")
def cli(verbose: bool) -> None:
    """One trained ML force field, every MD engine."""
    if verbose:
        import logging

        logging.basicConfig(format="%(name)s: %(message)s")
        for name in ("mlff_core", "mlff_plugins"):
            logging.getLogger(name).setLevel(logging.INFO)


def build() -> click.Group:
    """Return the command line with the commands of every plugin."""
    from mlff_core.plugins.host import host

    host().call_commands(cli)
    return cli


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``mlff`` with these arguments, those of the process by default."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Å in an ASCII terminal, and file names that are not UTF-8, are shown as escapes.
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _shown(warnings.showwarning)
    try:
        build()(arguments, prog_name="mlff")
    finally:
        _end_of_output()


def _shown(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Return a function that shows a warning of ours as one line, and any other as before."""

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
        if category.__module__.startswith("mlff_") or {"mlff_core", "mlff_plugins"}.intersection(Path(filename).parts):
            click.echo(f"Warning: {' '.join(str(message).splitlines())}", err=True)
        else:
            otherwise(message, category, filename, lineno, *rest)

    return show


def _end_of_output() -> None:
    """Write the rest of the output; if that fails, the error was already reported."""
    if sys.stdout is None or sys.stdout.closed:
        return
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter writes once more at its end, and would then report the error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def train() -> None:
    """Run ``mlff train`` under its own name."""
    main(["train", *sys.argv[1:]])


def validate() -> None:
    """Run ``mlff validate`` under its own name."""
    main(["validate", *sys.argv[1:]])


def benchmark() -> None:
    """Run ``mlff benchmark`` under its own name."""
    main(["benchmark", *sys.argv[1:]])
