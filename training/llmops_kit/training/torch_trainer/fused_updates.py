"""Adds an adapter's update to its layer's result in the product that computes it. Imports torch and peft: import it
where it is used.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer, LoraVariant


class FusedUpdate(LoraVariant):
    """The update of Hu et al. 2021 (arXiv:2106.09685). Peft computes it, multiplies it by alpha / r, and adds it: two
    more passes over a layer's result, and one over its gradient.
    """

    @staticmethod
    def forward(module: Any, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **_: Any) -> torch.Tensor:
        """Returns the layer's result with its update.

        Args:
            module: the layer.
            active_adapter: name of the adapter.
            x: the layer's input [..., inputs].
            result: of the layer without the adapter [..., outputs].
        """
        inner = module.lora_A[active_adapter](module.lora_dropout[active_adapter](x))
        outer, scale = module.lora_B[active_adapter].weight, module.scaling[active_adapter]
        return torch.addmm(result.flatten(0, -2), inner.flatten(0, -2), outer.t(), alpha=scale).view_as(result)


def set_fused_updates(adapted: Any, on: bool) -> None:
    """Sets whether layers use fused updates, in a peft model with a plain LoRA adapter on linear layers."""
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            layer.lora_variant = {name: FusedUpdate() for name in layer.lora_A} if on else {}
