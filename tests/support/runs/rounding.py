"""Numbers that are rounded to bf16 otherwise, as another processor may round them. Imports torch."""

from typing import Any

import torch
from torch import nn


def round_weights_otherwise(model: Any, seed: int) -> Any:
    """Changes each weight of a model, in place, by at most what rounding does; returns the model."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight *= _factors(weight, draw)
    return model


def round_products_otherwise(model: Any, seed: int) -> Any:
    """Lets a model's linear layers change each of their results by at most what rounding does; returns the model."""
    draw = torch.Generator().manual_seed(seed)

    def change(_module: Any, _inputs: Any, output: Any) -> Any:
        return (output * _factors(output, draw)).to(output.dtype)

    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(change)
    return model


def _factors(like: Any, draw: torch.Generator) -> Any:
    most = torch.finfo(torch.bfloat16).eps / 2
    return 1 + most * (2 * torch.rand(like.shape, generator=draw) - 1)
