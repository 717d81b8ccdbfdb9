"""Vectors of texts as transformers computes them."""

from pathlib import Path


def mean_vectors(source: Path, texts: list[str]) -> list[list[float]]:
    """The mean over each text's tokens, with length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(source)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(source)(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    means = (hidden * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(means, dim=1).tolist()
