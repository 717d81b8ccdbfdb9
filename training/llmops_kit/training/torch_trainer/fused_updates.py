"""An adapter's update, added to its layer's result by the product that makes it. Imports torch and peft: import it
where it is used.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer, LoraVariant


class FusedUpdate(LoraVariant):
    """The update of Hu et al. 2021 (arXiv:2106.09685). Peft's own makes it, multiplies all of it by alpha / r, and adds
    it: two more passes over a layer's result, and one over its gradient.
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
    """Sets whether the layers of a model of peft, with a plain LoRA adapter on linear layers, add their updates so."""
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            layer.lora_variant = {name: FusedUpdate() for name in layer.lora_A} if on else {}
