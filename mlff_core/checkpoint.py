"""The model file: what is written, and what is refused.

A ``model.pt`` is a dict of numbers, strings and tensors saved by ``torch.save`` and read with ``weights_only=True``, so
opening one runs nothing. Keys: ``format`` (always ``"mlff-model"``), ``format_version``, ``architecture``, ``config``,
``state_dict``, ``card``.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mlff_core.card import ModelCard
from mlff_core.errors import CheckpointError, InputError
from mlff_core.model.painn import PaiNN, PaiNNConfig

FORMAT = "mlff-model"
FORMAT_VERSION = 1
"""Raised when an older reader could not read the file; every older version stays readable for ever."""


def save_checkpoint(path: str | Path, model: PaiNN, card: ModelCard) -> Path:
    """Write model and card to ``path`` by rename, so that no half-written file is ever there; return the path.

    Raises
    ------
    InputError
        The card's elements or cutoff are not the model's.
    """
    path = Path(path)
    if card.elements != model.config.elements or card.cutoff != model.config.cutoff:
        raise InputError(
            f"the card says elements {card.elements} and cutoff {card.cutoff} Å, "
            f"the model has {model.config.elements} and {model.config.cutoff} Å"
        )
    config = asdict(model.config)
    config["elements"] = list(model.config.elements)
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "architecture": "PaiNN",
        "config": config,
        "state_dict": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
        "card": card.to_dict(),
    }
    write_by_rename(path, content)
    return path


def write_by_rename(path: Path, content: dict[str, Any]) -> None:
    """Save ``content`` beside ``path`` and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; a model file is as readable as any other.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | Path) -> tuple[PaiNN, ModelCard]:
    """Return the model, on the CPU in the precision it was saved in, and its card.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, not one of ours, newer than this version reads, or carries code.
    """
    path = Path(path)
    content = _read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a model file of this project: wanted a dict with format {FORMAT!r}; "
            "make one with `mlff train`, or look at `mlff models list`"
        )
    version = content.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, this version reads up to {FORMAT_VERSION}; update mlff-hub"
        )
    if content.get("architecture") != "PaiNN":
        raise CheckpointError(f"{path} holds a {content.get('architecture')!r} model; this version knows PaiNN")
    try:
        config = PaiNNConfig(**content["config"])
        with torch.random.fork_rng(devices=[]):  # the random start, overwritten below, draws from nobody's generator
            model = PaiNN(config)
        state = content["state_dict"]
        weight = state["embedding.weight"]
        model = model.to(weight.dtype)
        model.load_state_dict(state)
        model.reference_energies = state["reference_energies"].double()
        card = ModelCard.from_dict(content["card"])
    except (KeyError, TypeError, RuntimeError, AttributeError, InputError) as error:
        raise CheckpointError(f"{path} is damaged: {_first_line(error)}; get or train it again") from error
    if card.elements != config.elements or card.cutoff != config.cutoff:
        raise CheckpointError(f"{path} is damaged: card and model disagree on elements or cutoff")
    return model.eval(), card


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no file {path}; `mlff models list` shows the names that work without a path"
        ) from None
    except IsADirectoryError:
        raise CheckpointError(f"{path} is a folder; give the model file in it") from None
    except PermissionError:
        raise CheckpointError(f"{path} may not be read: permission denied") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} was refused, and nothing in it was run: it holds more than numbers ({_first_line(error)}); "
            "a model file of this project never does"
        ) from error
    except Exception as error:
        # torch.load raises a dozen types on damaged bytes; each means the same to the user.
        raise CheckpointError(f"{path} cannot be read as a model file: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
