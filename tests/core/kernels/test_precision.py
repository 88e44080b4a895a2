import contextlib

import pytest
import torch

from mlff_core.kernels.precision import tensor_cores


@pytest.mark.parametrize(("wanted", "inside"), [(False, "highest"), (True, "high")])
def test_the_switch_of_torch_is_as_wanted_inside_and_as_before_outside(wanted, inside):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with contextlib.suppress(KeyError), tensor_cores(wanted):
            assert torch.get_float32_matmul_precision() == inside
            raise KeyError
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
