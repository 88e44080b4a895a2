"""``mlff models``: named models, their cards, and the check of their files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mlff_core.card import ModelCard

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def command() -> None:
    """List, show, verify, add and remove models."""


@command.command("list")
@as_json_option
def list_models(as_json: bool) -> None:
    """List all named models, the shipped ones first."""
    from mlff_core.errors import CheckpointError
    from mlff_core.models.checkpoint import load_checkpoint
    from mlff_core.models.registry import registered_models, user_folder

    rows = []
    for model in registered_models():
        row: dict[str, Any] = {"name": model.name, "origin": model.origin, "path": str(model.path)}
        try:
            _, card = load_checkpoint(model.path)
            row |= {"elements": list(card.symbols), "n_parameters": card.n_parameters, "description": card.description}
        except CheckpointError as error:
            row |= {"elements": [], "n_parameters": 0, "description": f"broken: {error}"}
        rows.append(row)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['name']:<20} {row['origin']:<8} {' '.join(row['elements']):<24} {row['description']}".rstrip()
        )
    if not rows:
        click.echo(f"No models so far; `mlff models add FILE` puts one into {user_folder()}", err=True)


@command.command("show")
@click.argument("model")
@as_json_option
def show_model(model: str, as_json: bool) -> None:
    """Show the card of MODEL (a name or a file).

    \b
    Example:
      mlff models show organic-tiny
    """  # noqa: D301
    from mlff_core.models.checkpoint import file_sha256, load_checkpoint
    from mlff_core.models.registry import registered_models, resolve

    path = resolve(model)
    _, card = load_checkpoint(path)
    exports = [str(export) for named in registered_models() if named.path == path for export in named.exports]
    if as_json:
        content = {"path": str(path), "sha256": file_sha256(path), "exports": exports, "card": card.to_dict()}
        click.echo(json.dumps(content, indent=2))
        return
    for line in _card_lines(card):
        click.echo(line)
    click.echo(f"{'file':<20} {path}")
    click.echo(f"{'sha256':<20} {file_sha256(path)}")
    for export in exports:
        click.echo(f"{'exported':<20} {export}")


@command.command("verify")
@click.argument("models", nargs=-1)
@as_json_option
@click.pass_context
def verify_models(ctx: click.Context, models: tuple[str, ...], as_json: bool) -> None:
    """Check hash, file and card of MODELS (names or files), or of every model that has a name.

    Files that mlff export wrote are compared with the digest at their end.

    \b
    Example:
      mlff models verify organic-tiny
    """  # noqa: D301
    from mlff_core.models.opening import verify
    from mlff_core.models.registry import find_model, registered_models, verify_model

    rows = []
    for name in models or [model.name for model in registered_models()]:
        problems = verify(name) if Path(name).is_file() else verify_model(find_model(name))
        rows.append({"name": name, "status": "damaged" if problems else "ok", "problems": problems})
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            click.echo(f"{row['name']:<20} {row['status']:<8} {'; '.join(row['problems'])}".rstrip())
    if not rows:
        click.echo("No model has a name so far.", err=True)
    if any(row["problems"] for row in rows):
        ctx.exit(1)


@command.command("add")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the model; by default the name on its card.")
@as_json_option
def add_file(file: Path, name: str | None, as_json: bool) -> None:
    """Copy a model FILE into your folder, so that its name can be used instead of a path.

    \b
    Example:
      mlff models add run/model.pt --name mine
    """  # noqa: D301
    from mlff_core.models.registry import add_model

    model = add_model(file, name)
    _report("added", model.name, model.path, as_json)


@command.command("remove")
@click.argument("name")
@as_json_option
def remove_name(name: str, as_json: bool) -> None:
    """Delete the model NAME from your folder.

    \b
    Example:
      mlff models remove mine
    """  # noqa: D301
    from mlff_core.models.registry import remove_model

    model = remove_model(name)
    _report("removed", model.name, model.path, as_json)


def _report(done: str, name: str, path: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"name": name, "path": str(path), "status": done}, indent=2))
    else:
        click.echo(f"{done} {name} ({path})")


def _card_lines(card: ModelCard) -> Iterator[str]:
    """Yield the card's entries that are not empty, one per line, nested ones indented."""
    plain = card.to_dict() | {"elements": " ".join(card.symbols), "cutoff": f"{card.cutoff:g} Å"}
    for key, value in plain.items():
        yield from _entry_lines(key, value, "")


def _entry_lines(key: str, value: Any, indent: str) -> Iterator[str]:
    if value in ("", None) or value == {} or value == []:
        return
    label = f"{indent}{key}"
    if isinstance(value, Mapping):
        yield label
        for inner, content in value.items():
            yield from _entry_lines(inner, content, indent + "  ")
        return
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    yield f"{label:<20} {text}"
