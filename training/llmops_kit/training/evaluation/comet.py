"""`python -m llmops_kit.training score-translations`: scores of translations by a COMET model of the store.

Computes what unbabel-comet's RegressionMetric does (Rei et al. 2020, arXiv:2009.09025; its modules feedforward.py,
layerwise_attention.py, pooling_utils.py), from safetensors, in f32.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.core.documents.model import CometForm, ModelManifest
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import MANIFEST
from llmops_kit.training.models.comet_checkpoint import HEAD, TOKENIZER
from llmops_kit.training.process import say

BATCH = 32
"""Sentences encoded together, of about one length."""
_SPECIAL = 4
"""Positions of an XLM-R that COMET does not use for a sentence."""


class TranslationTriple(NamedTuple):
    """The texts that a COMET model scores together: source, translation and reference."""

    source: str
    translation: str
    reference: str


def score_file(model: Path, triples: Path, out: Path) -> None:
    """Scores a file of translations.

    Args:
        model: a model version for translation scoring; its files were checked.
        triples: JSON, a list of [source, translation, reference].
        out: gets a JSON list of scores, in the same order.

    Raises:
        KitError: the version is not one for translation scoring, or a score is not finite.
    """
    from llmops_kit.training.devices import best_device
    from llmops_kit.training.process import set_threads

    set_threads(0)
    manifest = ModelManifest.load(model / MANIFEST)
    manifest.require_task(str(model), "translation-scoring")
    assert manifest.comet
    asked = [TranslationTriple(*each) for each in json.loads(triples.read_text())]
    say(stage="load", model=manifest.name)
    scores = CometModel(model, manifest.comet, best_device()).score(asked)
    try:
        out.write_text(json.dumps(scores, allow_nan=False))
    except ValueError:
        raise KitError("gives scores that are not finite", where=str(model), fix="import the model again") from None


class CometModel:
    """Scores translations by an encoder and a small network over its pooled layers, as unbabel-comet does."""

    def __init__(self, folder: Path, form: CometForm, device: Any) -> None:
        """Loads a version.

        Args:
            folder: the version.
            form: of its manifest.
            device: a torch.device.

        Raises:
            KitError: the files lack weights.
        """
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        from llmops_kit.training.models.embedding import load_encoder

        self._form, self._device = form, device
        self._encoder = load_encoder(folder).to(device)
        self._head = load_file(folder / HEAD, device=str(device))
        config = self._encoder.config
        self._pad = config.pad_token_id
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._tokenizer.enable_truncation(config.max_position_embeddings - _SPECIAL)
        self._tokenizer.no_padding()
        self._layers = self._layer_weights(config.num_hidden_layers + 1)

    def score(self, triples: Sequence[TranslationTriple]) -> list[float]:
        """Returns the score of each translation, about 0 to 1 for models that were trained on such."""
        import torch

        texts = list(dict.fromkeys(text for triple in triples for text in triple))
        with torch.inference_mode():
            vectors = self._embed(texts)
            row_of = {text: index for index, text in enumerate(texts)}
            scores: list[float] = []
            for start in range(0, len(triples), BATCH):
                part = triples[start : start + BATCH]
                source, given, reference = (
                    vectors[[row_of[each] for each in column]] for column in zip(*part, strict=True)
                )
                scores += self._estimate(source, given, reference).tolist()
        return scores

    def _embed(self, texts: Sequence[str]) -> Any:
        """Returns a vector for each text (texts x hidden): the mean over tokens of the layers' weighted sum."""
        import torch

        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(texts)), key=lambda i: (-len(ids[i]), i))
        vectors = torch.empty(len(texts), self._encoder.config.hidden_size, device=self._device)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            width = len(ids[batch[0]])
            tokens = torch.tensor([ids[i] + [self._pad] * (width - len(ids[i])) for i in batch], device=self._device)
            lengths = torch.tensor([len(ids[i]) for i in batch], device=self._device)
            mask = torch.arange(width, device=self._device) < lengths[:, None]
            found = self._encoder(input_ids=tokens, attention_mask=mask.long(), output_hidden_states=True)
            mixed: Any = sum(weight * layer for weight, layer in zip(self._layers, found.hidden_states, strict=True))
            # A text can contain the padding token: COMET leaves it out of the sum, but counts it.
            held = mixed.masked_fill((tokens == self._pad)[..., None], 0.0).sum(1)
            vectors[batch] = held / lengths[:, None]
            say(stage="encode", done=min(start + BATCH, len(order)), of=len(order))
        return vectors

    def _estimate(self, source: Any, given: Any, reference: Any) -> Any:
        """Returns the head's score of each row of three matrices (rows x hidden)."""
        import torch
        from torch.nn.functional import linear

        products = (given * reference, (given - reference).abs(), given * source, (given - source).abs())
        found = torch.cat((given, reference, *products), dim=1)
        count = sum(name.endswith(".bias") for name in self._head)
        for number in range(count):
            name = f"estimator.ff.{3 * number}"
            found = linear(found, self._head[f"{name}.weight"], self._head[f"{name}.bias"])
            kind = self._form.final_activation if number == count - 1 else self._form.activation
            found = {"Tanh": torch.tanh, "Sigmoid": torch.sigmoid}[kind](found) if kind else found
        return found.view(-1)

    def _layer_weights(self, layers: int) -> Any:
        """Returns the weight of each layer's hidden states."""
        import torch

        raw = torch.cat([self._head[f"layerwise_attention.scalar_parameters.{layer}"] for layer in range(layers)])
        weights = torch.softmax(raw, dim=0) if self._form.layer_weights == "softmax" else sparsemax(raw)
        return weights * self._head["layerwise_attention.gamma"]


def sparsemax(values: Any) -> Any:
    """Returns the projection of a vector onto the probability simplex (Martins and Astudillo 2016, algorithm 1)."""
    import torch

    descending = torch.sort(values, descending=True).values
    excess = descending.cumsum(0) - 1
    ranks = torch.arange(1, len(values) + 1, device=values.device)
    support = int((ranks * descending > excess).sum())
    return torch.clamp(values - excess[support - 1] / support, min=0)
