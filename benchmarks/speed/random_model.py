"""Write a model with random weights, for timings: ``python -m benchmarks random_model MODEL.pt [PRESET]``.

The time of a step does not depend on the weights.
"""

from __future__ import annotations

import argparse

import torch

from mlff_core.card import ModelCard
from mlff_core.model.painn import PaiNN, count_parameters
from mlff_core.model.presets import preset
from mlff_core.models.checkpoint import save_checkpoint


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("path", metavar="MODEL.pt")
    options.add_argument("preset", nargs="?", default="original")
    arguments = options.parse_args()
    name = arguments.preset
    torch.manual_seed(0)
    config = preset(name)
    model = PaiNN(config)
    card = ModelCard(
        name=f"{name}, random weights",
        elements=config.elements,
        cutoff=config.cutoff,
        n_parameters=count_parameters(model),
    )
    print(save_checkpoint(arguments.path, model, card))


if __name__ == "__main__":
    main()
