"""Gradients of single samples where vmap is wrong."""

import torch
from kernel_oracle import relative_error
from torch import nn

import afterkernel as ak


def test_where_vmap_is_wrong_samples_are_taken_one_at_a_time():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3),
        nn.SiLU(),
        nn.InstanceNorm2d(8, affine=True),
        nn.Conv2d(8, 4, 3),
        nn.PReLU(4),
        nn.Flatten(),
        nn.Linear(64, 1),
    )
    model, x = model.double().eval(), torch.randn(4, 2, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    rows = [torch.autograd.grad(model(row[None].repeat(2, 1, 1, 1))[0, 0], list(model.parameters())) for row in x]
    phi = torch.stack([torch.cat([grad.flatten() for grad in row]) for row in rows])
    assert relative_error(ak.ntk(model, x, dtype=torch.float64), phi @ phi.T) < 1e-12
