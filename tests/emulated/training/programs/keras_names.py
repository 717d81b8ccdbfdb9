"""What both images' scripts name alike."""

IDS = [[1, 40, 77, 3, 200, 9, 9, 150], [5, 6, 7, 8, 2, 30, 31, 258]]
"""Token ids whose logits are compared."""
_LINEAR = {
    "self_attention/query": "self_attn.q_proj",
    "self_attention/key": "self_attn.k_proj",
    "self_attention/value": "self_attn.v_proj",
    "self_attention/attention_output": "self_attn.o_proj",
    "feedforward_gate_dense": "mlp.gate_proj",
    "feedforward_intermediate_dense": "mlp.up_proj",
    "feedforward_output_dense": "mlp.down_proj",
}


def torch_name(path: str) -> str:
    """Peft's name of the A beside a KerasHub kernel."""
    layer, _, place = path.removesuffix("/kernel").partition("/")
    number = layer.removeprefix("transformer_layer_")
    return f"base_model.model.model.layers.{number}.{_LINEAR[place]}.lora_A.default.weight"
