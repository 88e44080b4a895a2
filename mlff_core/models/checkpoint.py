"""The model file: writing it, reading it, and refusing other or damaged files.

A ``model.pt`` is a dict of numbers, strings and tensors saved by ``torch.save`` and read with ``weights_only=True``, so
opening a file runs no code from it. Keys: ``format`` (always ``"mlff-model"``), ``format_version``, ``architecture``,
``config``, ``state_dict``, ``card``, and ``digest``, the SHA-256 of the others, because ``torch.load`` does not notice
a changed byte in a tensor. If the energy has other terms than its architecture's own, ``terms`` lists them. Optional
parts of a student (:meth:`.Student.add_parts`) are recognised by their names in ``state_dict``; files without them are
written as version 2, so that older readers open them.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlff_core.atomic_write import write_atomically
from mlff_core.card import ModelCard
from mlff_core.errors import CheckpointError, InputError, UnsupportedError, first_line
from mlff_core.model.architectures import architecture_called, describe_config, describe_terms, make_terms
from mlff_core.model.student import PARTS, Student
from mlff_core.models.archive import check_archive
from mlff_core.models.sealed import ARCHIVE

FORMAT = "mlff-model"
FORMAT_VERSION = 3
"""Incremented when an older reader could not read the file; every older version stays readable."""
WITHOUT_PARTS = 2
"""Version of the file of a student without optional parts."""
WITH_TERMS = " with terms"
"""Appended to the architecture of a file that lists its terms, so that an older reader, which would leave them out,
refuses it."""

WEIGHT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Precisions in which weights may be stored."""
MOST_TEXT = 2**20
"""Largest number of characters of card and configuration; a student has a few thousand. A string that a pickle holds
once and refers to a million times would be written a million times."""


def save_checkpoint(path: str | Path, model: Student, card: ModelCard) -> Path:
    """Write model and card to ``path`` by rename, so that the file is never incomplete; return the path.

    Raises
    ------
    InputError
        Card and model differ in elements or cutoff, the card cannot be written as JSON, or a weight is not finite.
    UnsupportedError
        The energy has a term that is not in the table of terms.
    """
    path = Path(path)
    if card.elements != model.config.elements or card.cutoff != model.cutoff:
        raise InputError(
            f"the card says elements {card.elements} and cutoff {card.cutoff} Å, "
            f"the model has {model.config.elements} and {model.cutoff} Å"
        )
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if broken := _not_finite(state):
        raise InputError(
            f"the weights {broken} hold NaN or infinity, so there is nothing to save; training has diverged"
        )
    terms = describe_terms(model)
    has_parts = any(name.startswith(f"{part}.") for part in PARTS for name in state)
    content: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION if has_parts else WITHOUT_PARTS,
        "architecture": model.architecture if terms is None else model.architecture + WITH_TERMS,
        "config": describe_config(model),
        "state_dict": state,
        "card": card.to_dict(),
    }
    if terms is not None:
        content["terms"] = terms
    content["digest"] = _digest(content)
    write_by_rename(path, content)
    return path


def write_by_rename(path: Path, content: dict[str, Any]) -> None:
    """Save ``content`` beside ``path`` and rename it into place."""
    stream = io.BytesIO()  # torch's writer aborts on an error of the stream, such as a full disk
    torch.save(content, stream)
    write_atomically(path, stream.getvalue())


def load_checkpoint(path: str | Path) -> tuple[Student, ModelCard]:
    """Return the model, on the CPU in the precision it was saved in, and its card.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, not a model file, of a version newer than this one can read, or contains code.
    """
    path = Path(path)
    content = _read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is not a model file of this project: wanted a dict with format {FORMAT!r}; "
            "make one with `mlff train`, or look at `mlff models list`"
        )
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError(f"{path} is damaged: its format version is {version!r}; get or train it again")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}, this version reads up to {FORMAT_VERSION}; update mlff-hub"
        )
    try:
        kind = architecture_called(str(content.get("architecture")).removesuffix(WITH_TERMS))
        _check_sizes(content, path.stat().st_size)
        if content["digest"] != _digest(content):
            raise InputError("its content has changed since it was written")
        model, card = _rebuild(content, kind)
    except UnsupportedError as error:
        raise CheckpointError(f"{path} cannot be opened: {error}") from error
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {first_line(error)}; get or train it again") from error
    return model, card


def _rebuild(content: Mapping[str, Any], kind: type[Student]) -> tuple[Student, ModelCard]:
    config, state = kind.read_config(content["config"]), content["state_dict"]
    # Checked first: a config that does not match the weights could ask for any amount of memory.
    dtype = kind.check_weights(config, state)
    if dtype not in WEIGHT_DTYPES:
        raise InputError(f"the weights are {dtype}, wanted one of {', '.join(map(str, WEIGHT_DTYPES))}")
    if broken := _not_finite(state):
        raise InputError(f"the weights {broken} hold NaN or infinity")
    # The initial weights are drawn and thrown away; this must not change the caller's random numbers.
    with torch.random.fork_rng(devices=[]):
        model = kind(config, make_terms(kind, config, content.get("terms"))).add_parts(state).to(dtype)
    model.load_state_dict(state)
    card = ModelCard.from_dict(content["card"])
    if card.elements != config.elements or card.cutoff != model.cutoff:
        raise InputError("card and model disagree on elements or cutoff")
    return model.eval(), card


def _check_sizes(content: Mapping[str, Any], n_bytes: int) -> None:
    """Refuse weights larger than the file, such as one number repeated over a matrix, and texts of excessive length."""
    state = content["state_dict"]
    if not all(type(tensor) is Tensor and tensor.layout is torch.strided for tensor in state.values()):
        raise InputError("its weights are not plain tensors")
    declared = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if declared > n_bytes:
        raise InputError(f"its weights declare {declared} bytes, the file has {n_bytes}")
    rest = [content[key] for key in ("config", "card", "terms", "architecture") if key in content]
    n_characters = 0
    while rest:
        item = rest.pop()
        if isinstance(item, dict):
            rest += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple)):
            rest += item
        n_characters += len(item) if isinstance(item, str) else 1
        if n_characters + len(rest) > MOST_TEXT:
            raise InputError(f"its card and configuration have more than {MOST_TEXT} characters")


def _not_finite(state: Mapping[str, Tensor]) -> str:
    """Return the names of the tensors, any shape and any unit, that hold NaN or infinity; empty if none does."""
    return ", ".join(name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all()))


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of architecture, config, card and weights, as 64 hexadecimal digits."""
    plain = {key: content[key] for key in ("format_version", "architecture", "config", "card")}
    if "terms" in content:
        plain["terms"] = content["terms"]
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for name, tensor in sorted(content["state_dict"].items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_archive(path: Path) -> Any:
    """Return the content that ``torch.save`` wrote; only numbers, strings and tensors, from an archive with true sizes.

    Raises
    ------
    InputError
        It is not an archive, or would take more memory than its own size.
    Exception
        Any error that ``torch.load`` raises for damaged bytes or for code.
    """
    content = path.read_bytes()
    if not content.startswith(ARCHIVE):  # torch's older format allocates what it declares
        raise pickle.UnpicklingError("no archive")
    check_archive(io.BytesIO(content), len(content), may_deflate=False)
    # torch warns about archives and pickles that it then refuses; the caller's error message is clearer.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _read(path: Path) -> Any:
    try:
        return read_archive(path)
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no file {path}; `mlff models list` shows the names that work without a path"
        ) from None
    except IsADirectoryError:
        raise CheckpointError(f"{path} is a folder; give the model file in it") from None
    except PermissionError:
        raise CheckpointError(f"{path} may not be read: permission denied") from None
    except pickle.UnpicklingError as error:
        # torch's message advises loading the file without the check, which would run its code.
        raise CheckpointError(
            f"{path} was refused, and nothing in it was run: it is no model file, or holds more than numbers and text, "
            "which a model file of this project never does; get it again from where it was made"
        ) from error
    except InputError as error:
        raise CheckpointError(
            f"{path} is not a model file of this project, or is damaged: {error}; get or train it again"
        ) from error
    except Exception as error:
        # torch.load raises a dozen types of error for damaged bytes; they all mean the same to the user.
        raise CheckpointError(
            f"{path} is not a model file of this project, or is damaged ({type(error).__name__}); get or train it again"
        ) from error


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
