"""``mlff qcengine``: QCEngine's command line with the program ``mlff`` registered, and a correct exit status."""

from __future__ import annotations

import contextlib
import io
import json
import sys

import click

from mlff_core.errors import InputError


@click.command("qcengine", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Run QCEngine's command line with the program `mlff` registered.

    Examples are `mlff qcengine run mlff input.json` and `mlff qcengine info programs`. The exit status is 1 if the
    result is a failure.

    \b
    Example:
      mlff qcengine run mlff task.json
    """  # noqa: D301
    from mlff_plugins.qcengine.registration import register

    register()
    from qcengine import cli

    before, printed = sys.argv, io.StringIO()
    sys.argv = ["mlff qcengine", *arguments]
    try:
        with contextlib.redirect_stdout(printed):
            cli.main()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"the input of `mlff qcengine {' '.join(arguments)}` is not JSON: {error}; give an existing file, the "
            "JSON itself, or - to read it from standard input"
        ) from error
    finally:
        sys.argv = before
        click.echo(printed.getvalue(), nl=False)
    # qcengine exits with 0 for every result.
    if arguments[:1] == ("run",) and not _succeeded(printed.getvalue()):
        context.exit(1)


def _succeeded(text: str) -> bool:
    try:
        return bool(json.loads(text).get("success"))
    except (json.JSONDecodeError, AttributeError):
        return False
