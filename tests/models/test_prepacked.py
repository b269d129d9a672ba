"""Frozen linear layers in another layout: the same numbers, and the module as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from proxygold.models.prepacked import prepacked_linears


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 8, bias=False))
    model.requires_grad_(False)
    return model


def _uses_a_copy(layer: nn.Module) -> bool:
    return "forward" in vars(layer)


@pytest.mark.parametrize("shape", [(24,), (1, 24), (16, 24), (3, 5, 24), (300, 24)])
def test_the_same_numbers(shape: tuple[int, ...]) -> None:
    model = _model()
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = model.double()(inputs.double())
    model.float()
    with prepacked_linears(model), torch.no_grad():
        assert _uses_a_copy(model[0])
        assert torch.allclose(model(inputs).double(), expected, atol=1e-5)
    assert not _uses_a_copy(model[0])


def test_what_is_trained_or_in_another_dtype_is_left_alone() -> None:
    model = _model()
    model[2].requires_grad_(True)
    with prepacked_linears(model):
        assert _uses_a_copy(model[0])
        assert not _uses_a_copy(model[2])
    with prepacked_linears(_model().double()) as nothing:
        assert nothing is None


def test_an_error_inside_puts_the_layers_back() -> None:
    model = _model()
    with pytest.raises(KeyError), prepacked_linears(model):
        raise KeyError
    assert not _uses_a_copy(model[0])
