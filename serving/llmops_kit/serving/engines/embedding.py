"""The engine's process for an embedding model: token ids in, one vector out for each text, by OpenVINO on a CPU.

The tokens' vectors are pooled here rather than by openvino-genai's TextEmbeddingPipeline, which takes only texts: it
would tokenise a second time, and silently truncate long ones.
"""

import base64
from pathlib import Path
from typing import Any

from llmops_kit.serving.engines.cpu_precision import cpu_precision
from llmops_kit.serving.engines.engine import LoadOrder
from llmops_kit.serving.engines.wire import Channel

_BATCH_TOKENS = 4096
"""Maximum tokens of a batch, padding included."""


class Embedder:
    """An OpenVINO model of a version's `openvino` folder."""

    def __init__(self) -> None:
        self._model: Any = None
        self._inputs: set[str] = set()
        self._pooling, self._normalize = "", False

    def load(self, order: LoadOrder, folder: Path) -> dict[str, Any]:
        """Loads the model from a folder with the order's files; returns fields of EngineInfo."""
        import openvino

        core = openvino.Core()
        precision = cpu_precision(core, order.precision)
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
        if order.threads:
            properties["INFERENCE_NUM_THREADS"] = order.threads
        self._model = core.compile_model(str(folder / "openvino" / "openvino_model.xml"), "CPU", properties)
        self._inputs = {name for entry in self._model.inputs for name in entry.names}
        form = order.embedding or {}
        self._pooling, self._normalize = form["pooling"], form["normalize"]
        return {"engine": "openvino", "precision": precision, "version": openvino.__version__, "penalties": False,
                "top_logprobs": 0}  # fmt: skip

    def serve(self, channel: Channel, messages: list[Any]) -> None:
        """Answers {"embed": [number, texts]} until the server closes the socket; requests take turns, a batch each.

        Args:
            channel: to the server.
            messages: messages that arrived with the order.
        """
        waiting: dict[int, tuple[list[list[int]], list[list[int]]]] = {}
        while True:
            for message in messages:
                if "cancel" in message:
                    waiting.pop(message["cancel"], None)
                else:
                    number, texts = message["embed"]
                    waiting[number] = texts, _batches(texts)
            for number, (texts, batches) in list(waiting.items()):
                batch = batches.pop()
                vectors = self.embed([texts[each] for each in batch])
                channel.send({"embedded": [number, list(zip(batch, vectors, strict=True))]})
                if not batches:
                    del waiting[number]
            messages = channel.receive(wait=not waiting)

    def embed(self, texts: list[list[int]]) -> list[str]:
        """Returns a vector for each text of a batch, as base64 of little-endian 32-bit floats, which is OpenAI's
        form.
        """
        return [base64.b64encode(row.tobytes()).decode() for row in self._pooled(texts)]

    def _pooled(self, texts: list[list[int]]) -> Any:
        """Returns the vectors of a batch: float32 [texts, dimensions]."""
        import numpy

        longest = max(map(len, texts))
        ids = numpy.zeros((len(texts), longest), dtype=numpy.int64)
        mask = numpy.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)], mask[row, : len(text)] = text, 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
        given["position_ids"] = numpy.broadcast_to(numpy.arange(longest), ids.shape).copy()
        hidden = self._model({name: given[name] for name in self._inputs & given.keys()})["last_hidden_state"]
        if self._pooling == "mean":
            weights = mask[:, :, None].astype(numpy.float32)
            vectors = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        elif self._pooling == "cls":
            vectors = hidden[:, 0]
        else:
            vectors = hidden[numpy.arange(len(texts)), mask.sum(axis=1) - 1]
        if self._normalize:
            vectors = vectors / numpy.maximum(numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors.astype("<f4")


def _batches(texts: list[list[int]]) -> list[list[int]]:
    """Returns the texts' numbers in batches of similar length."""
    batches: list[list[int]] = []
    for number in sorted(range(len(texts)), key=lambda each: len(texts[each])):
        if batches and (len(batches[-1]) + 1) * len(texts[number]) <= _BATCH_TOKENS:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches
