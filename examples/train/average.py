"""Average the weights of stages: ``python examples/train/average.py STAGE/model.pt STAGE/model.pt … -o OUT.pt``.

The final weights of stages that start from each other lie in the same minimum, and their mean has smaller errors than
each of them (P. Izmailov et al., *Averaging weights leads to wider optima and better generalization*, UAI 2018,
arXiv:1803.05407). The mean can be shipped, or start another stage at a small learning rate (``model.init_from``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mlff_core.errors import InputError
from mlff_core.models.checkpoint import file_sha256, load_checkpoint, save_checkpoint


def average(models: Sequence[Path], output: Path) -> None:
    """Write the mean of the models' weights with the card of the last model, which then lists the averaged models.

    Raises
    ------
    InputError
        There are fewer than two models, or the networks differ.
    """
    if len(models) < 2:
        raise InputError(f"an average needs at least two models, got {len(models)}")
    networks, cards = zip(*(load_checkpoint(path) for path in models), strict=True)
    for path, network in zip(models, networks, strict=True):
        if network.config != networks[0].config:
            raise InputError(f"{path} has another network than {models[0]}: {network.config}, {networks[0].config}")
    states = [network.state_dict() for network in networks]
    mean = {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[-1]}
    networks[-1].load_state_dict(mean)  # rounds to the precision of the last
    training = {**cards[-1].training, "average_of": [file_sha256(path) for path in models]}
    save_checkpoint(output, networks[-1], replace(cards[-1], training=training, metrics={}))


def main() -> None:
    """Read the command line and write the average."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    average(arguments.models, arguments.output)


if __name__ == "__main__":
    main()
