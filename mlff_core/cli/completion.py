"""``mlff completion``: completion of commands and options by the Tab key."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a script by which a shell completes commands and options.

    \b
    Lines for ~/.bashrc, ~/.zshrc and ~/.config/fish/config.fish:
      eval "$(mlff completion bash)"
      eval "$(mlff completion zsh)"
      eval (mlff completion fish | string collect)
    """  # noqa: D301
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, shell  # one of click's own
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "mlff", "_MLFF_COMPLETE").source())
