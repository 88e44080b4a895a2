"""Names of models: the list of them, the file of each, and a check that the file is the one that was registered.

A folder of models holds the files and an ``index.json``: ``{"models": [{"name": …, "file": …, "sha256": …}, …]}``; a
row may have ``"exports": [{"file": …, "sha256": …}, …]``, the same model in other formats. There are two folders:
``mlff_core/models/shipped`` is part of the package, and the user's folder is made by the first ``mlff models add``.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlff_core.atomic_write import atomic_stream, make_folder, one_writer, write_atomically
from mlff_core.errors import CheckpointError, InputError
from mlff_core.model.painn import count_parameters
from mlff_core.models.checkpoint import file_sha256, load_checkpoint
from mlff_core.models.sealed import check_seal

INDEX = "index.json"
SUFFIX = ".pt"
"""Ending of model files; a name must not end in it."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SHIPPED_FOLDER = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class RegisteredModel:
    """A model that has a name."""

    name: str
    """The name."""
    path: Path
    """Its file."""
    sha256: str
    """SHA-256 of the file when it was registered, 64 hexadecimal digits."""
    origin: str
    """``"shipped"`` or ``"user"``."""
    exports: Mapping[Path, str] = field(default_factory=dict)
    """Files of the same model in other formats, each with its SHA-256."""


def user_folder() -> Path:
    """Return the user's folder of models, which need not exist: ``MLFF_MODELS_DIR``, or the platform's data folder."""
    if folder := os.environ.get("MLFF_MODELS_DIR"):
        return Path(folder).expanduser()
    if sys.platform == "darwin":
        data = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return data / "mlff-hub" / "models"


def registered_models() -> list[RegisteredModel]:
    """Return every model that has a name, the shipped ones first; opens no model file.

    Raises
    ------
    CheckpointError
        An index is damaged.
    """
    shipped = _read_index(SHIPPED_FOLDER, "shipped")
    names = {model.name for model in shipped}
    # A later release may ship a name that a user already has; a shipped name means the same model for every user.
    return shipped + [model for model in _read_index(user_folder(), "user") if model.name not in names]


def find_model(name: str) -> RegisteredModel:
    """Return the model with this name.

    Raises
    ------
    CheckpointError
        No model has this name; the message lists the nearest name, or all names.
    """
    models = {model.name: model for model in registered_models()}
    if name in models:
        return models[name]
    close = difflib.get_close_matches(name, models, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"names are: {', '.join(models) or 'none so far'}."
    raise CheckpointError(f"no file and no model is called {name!r}; {hint} See `mlff models list`")


def resolve(name_or_path: str | Path) -> Path:
    """Return the file of a model given by name or path.

    An existing file has priority over a model of the same name, since the user sees it in the folder; ``./name`` is
    always a path. The file of a name is compared with its hash.

    Raises
    ------
    CheckpointError
        There is no such file or name, or the file of the name is not the one that was registered.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    text = str(name_or_path)
    if NAME.fullmatch(text) is None or path.suffix == SUFFIX:
        if path.is_dir():
            raise CheckpointError(f"{path} is a folder; give the model file in it")
        raise CheckpointError(f"there is no file {path}; `mlff models list` shows the names that work without a path")
    model = find_model(text)
    check_hash(model)
    return model.path


def check_hash(model: RegisteredModel) -> None:
    """Refuse a file that is not the one that was registered.

    Raises
    ------
    CheckpointError
        The file is missing or has another SHA-256.
    """
    _check_file(model, model.path, model.sha256)


def _check_file(model: RegisteredModel, path: Path, sha256: str) -> None:
    remedy = "run `mlff models remove` and add it again" if model.origin == "user" else "install mlff-hub again"
    if not path.is_file():
        raise CheckpointError(f"the file {path} of model {model.name!r} is missing; {remedy}")
    found = file_sha256(path)
    if found != sha256:
        raise CheckpointError(
            f"the file {path} of model {model.name!r} has changed: wanted SHA-256 {sha256[:12]}…, "
            f"got {found[:12]}…; {remedy}"
        )


def verify_model(model: RegisteredModel) -> list[str]:
    """Return one sentence for each problem of a model's hashes, file and card; empty if there is none."""
    try:
        check_hash(model)
        for path, sha256 in model.exports.items():
            _check_file(model, path, sha256)
    except CheckpointError as error:
        return [str(error)]
    problems = verify_file(model.path)
    if not problems and model.origin == "shipped":
        _, card = load_checkpoint(model.path)
        # The card of a shipped model must state its origin.
        lacking = [key for key in ("licence", "teacher", "dataset", "metrics") if not getattr(card, key)]
        problems = [f"the card lacks {key}" for key in lacking]
    return problems


def verify_file(path: str | Path) -> list[str]:
    """Return the problems of a model file and its card, one sentence each; empty if there are none.

    For a file exported for an engine, which ends with a digest, only the digest is checked.
    """
    path = Path(path)
    try:
        if path.is_file() and check_seal(path, path.read_bytes()):
            return []
        network, card = load_checkpoint(path)
    except CheckpointError as error:
        return [str(error)]
    counted = count_parameters(network)
    if card.n_parameters not in (0, counted):
        return [f"the card says {card.n_parameters} parameters, the model has {counted}"]
    return []


def add_model(path: str | Path, name: str | None = None) -> RegisteredModel:
    """Copy a model file into the user's folder under ``name``, or under the name on its card; makes the folder.

    Raises
    ------
    CheckpointError
        The file is not a model file.
    InputError
        The name is taken, or is not a valid name.
    """
    path = Path(path)
    _, card = load_checkpoint(path)
    name = card.name if name is None else name
    if NAME.fullmatch(name) is None or Path(name).suffix == SUFFIX:
        raise InputError(
            f"a model's name is made of letters, digits, '.', '_' and '-', got {name!r}; give one with --name"
        )
    folder = user_folder()
    make_folder(folder)
    with one_writer(folder / INDEX, wait=True):
        taken = {model.name: model for model in registered_models()}
        if name in taken:
            raise InputError(
                f"the name {name!r} is taken by a {taken[name].origin} model, {taken[name].path}; "
                "give another with --name, or remove that one first"
            )
        model = RegisteredModel(name, folder / f"{name}{SUFFIX}", file_sha256(path), "user")
        with path.open("rb") as source, atomic_stream(model.path) as copy:
            shutil.copyfileobj(source, copy)
        _write_index(folder, [*_read_index(folder, "user"), model])
    return model


def remove_model(name: str) -> RegisteredModel:
    """Delete a model from the user's folder and return it.

    Raises
    ------
    CheckpointError
        No model has this name.
    InputError
        The model is shipped.
    """
    model = find_model(name)
    if model.origin != "user":
        raise InputError(f"{name!r} is shipped with mlff-hub and cannot be removed; only models you added can be")
    folder = user_folder()
    with one_writer(folder / INDEX, wait=True):
        # The index first: a file without an entry is harmless, an entry without a file is not.
        _write_index(folder, [other for other in _read_index(folder, "user") if other.name != name])
        model.path.unlink(missing_ok=True)
    return model


def _read_index(folder: Path, origin: str) -> list[RegisteredModel]:
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        rows = json.loads(index.read_text(encoding="utf-8"))["models"]
        models = [
            RegisteredModel(
                row["name"],
                folder / row["file"],
                row["sha256"],
                origin,
                {folder / export["file"]: export["sha256"] for export in row.get("exports", [])},
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the index {index} is damaged ({type(error).__name__}); repair or delete it") from error
    for path in (path for model in models for path in (model.path, *model.exports)):
        if path.parent != folder:
            raise CheckpointError(f"the index {index} is damaged: {path} is outside its folder; repair or delete it")
    return models


def _write_index(folder: Path, models: list[RegisteredModel]) -> None:
    rows = [{"name": model.name, "file": model.path.name, "sha256": model.sha256} for model in models]
    write_atomically(folder / INDEX, (json.dumps({"models": rows}, indent=2) + "\n").encode())
