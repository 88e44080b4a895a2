"""Changed weights are noticed, and forgotten once they are copied."""

import torch

from mlff_core.kernels.weights import WeightVersions
from mlff_core.model.painn import PaiNN
from mlff_core.model.presets import PRESETS


def test_a_change_of_a_parameter_or_a_buffer_differs_until_it_is_recorded():
    model = PaiNN(PRESETS["ultra-tiny"])
    weights = WeightVersions(model)
    assert not weights.differ(weights.current())
    for tensor in (next(model.parameters()), model.reference_energies):
        with torch.no_grad():
            tensor.mul_(2)
        versions = weights.current()
        assert weights.differ(versions)
        weights.copied(versions)
        assert not weights.differ(weights.current())
