"""Muon: the orthogonalized update of a matrix."""

import pytest
import torch

from mlff_core.training.muon import Muon, orthogonalized


@pytest.mark.parametrize("shape", [(5, 12, 12), (3, 24, 72), (2, 40, 16)])
def test_the_singular_values_of_an_update_are_near_one_and_its_bases_are_those_of_the_matrix(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    found = u.mT @ orthogonalized(matrices) @ vh.mT
    singular = torch.diagonal(found, dim1=1, dim2=2)
    well = s > 0.05 * s[:, :1]
    assert float(singular[well].min()) > 0.6
    assert float(singular[well].max()) < 1.3
    assert float((found - torch.diag_embed(singular)).abs().max()) < 1e-9


def test_matrices_are_orthogonalized_each_by_itself():
    matrices = (
        torch.randn(4, 10, 30, generator=torch.Generator().manual_seed(1))
        * torch.tensor([1e-3, 1, 10, 1e4])[:, None, None]
    )
    together = orthogonalized(matrices)
    for matrix, update in zip(matrices, together, strict=True):
        torch.testing.assert_close(orthogonalized(matrix[None])[0], update, rtol=1e-4, atol=1e-5)


def test_a_gradient_of_zero_moves_nothing():
    matrix = torch.nn.Parameter(torch.ones(9, 9))
    matrix.grad = torch.zeros(9, 9)
    Muon([matrix], lr=0.1).step()
    assert torch.equal(matrix.detach(), torch.ones(9, 9))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon since 2.9")
def test_steps_are_those_of_torch_up_to_its_bfloat16():
    generator = torch.Generator().manual_seed(2)
    starts = [torch.randn(shape, generator=generator) for shape in ((16, 16), (24, 72), (48, 24), (24, 72))]
    ours, torchs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    optimizers = (
        Muon(ours, lr=0.01, momentum=0.9, weight_decay=0.1),
        torch.optim.Muon(torchs, lr=0.01, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(5):
        for one, other in zip(ours, torchs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, start in zip(ours, torchs, starts, strict=True):
        moved = torch.linalg.vector_norm(one.detach() - start)
        assert float(torch.linalg.vector_norm(one.detach() - other.detach())) < 0.05 * float(moved)
