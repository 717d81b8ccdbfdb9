"""PyTorch through transformers, for models without an OpenVINO form.

Requests join and leave the batch between steps: a prompt is computed alone, then its cache joins the batch's, padded on
the left to one length. docs/decisions/0024-transformers-batch.md says why this is not transformers' own continuous
batching.
"""

import json
from pathlib import Path
from typing import Any

from llmops_kit.serving.engines.engine import Chance, GenerationRequest, LoadOrder
from llmops_kit.serving.engines.transformers_grammars import GrammarMask, GrammarMasks
from llmops_kit.serving.engines.worker import Step
from llmops_kit.serving.vocabulary import token_bytes

_PROMPT_TOKENS = 256
"""A step begins no further prompt after this many tokens of prompts, because running answers wait for them."""


def warm() -> None:
    """Imports the library."""
    import torch  # noqa: F401
    import transformers  # noqa: F401


class _Row:
    """A request in the batch."""

    def __init__(self, number: int, request: GenerationRequest, mask: GrammarMask | None, device: Any) -> None:
        import torch

        self.number = number
        self.request = request
        self.length = len(request.prompt)
        self.generated: list[int] = []
        self.mask = mask
        self.random = torch.Generator(device).manual_seed(request.seed)


class TransformersBackend:
    """One model in eager mode; safetensors only, and no code from the model's folder."""

    def __init__(self) -> None:
        self._model: Any = None
        self._masks: GrammarMasks | None = None
        self._cache: Any = None
        self._mask: Any = None
        self._rows: list[_Row] = []
        self._waiting: list[_Row] = []

    def load(self, order: LoadOrder, folder: Path) -> dict[str, Any]:
        """Reads the weights."""
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        if order.threads:
            torch.set_num_threads(order.threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = _precision(order.precision, device)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype={"f32": torch.float32, "bf16": torch.bfloat16}[precision],
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
        self._model = model.eval().to(device)
        tokens = token_bytes(json.loads((folder / "tokenizer.json").read_bytes()), specials=False)
        self._masks = GrammarMasks(tokens, self._model.get_output_embeddings().weight.shape[0])
        version = transformers.__version__
        return {"engine": "transformers", "precision": precision, "version": version, "penalties": True,
                "top_logprobs": 20}  # fmt: skip

    def add(self, number: int, request: GenerationRequest) -> None:
        """Accepts a request; the next step computes its prompt.

        Raises:
            RuntimeError: xgrammar's own, the request's grammar doesn't compile.
        """
        assert self._masks
        mask = self._masks.start(request.grammar, request.stop_ids) if request.grammar else None
        self._waiting.append(_Row(number, request, mask, self._model.device))

    def cancel(self, number: int) -> None:
        """Removes a request."""
        self._waiting = [row for row in self._waiting if row.number != number]
        self._keep([i for i, row in enumerate(self._rows) if row.number != number])

    def numbers(self) -> list[int]:
        """Returns the running and waiting requests."""
        return [row.number for row in [*self._rows, *self._waiting]]

    def grammar_bytes(self) -> int:
        """Returns the memory of the compiled grammars that xgrammar keeps, which it evicts at GRAMMAR_BYTES."""
        return self._masks.bytes if self._masks else 0

    def step(self) -> list[Step]:
        """Computes the next token of every running request, and the first ones of requests that waited."""
        import torch

        steps: list[Step] = []
        prompts = 0
        with torch.inference_mode():
            if self._rows:
                steps += self._decode()
            while self._waiting and prompts < _PROMPT_TOKENS:
                row = self._waiting.pop(0)
                prompts += len(row.request.prompt)
                steps.append(self._prefill(row))
        ended = {number for number, _, finish, _ in steps if finish}
        if ended:
            self._keep([i for i, row in enumerate(self._rows) if row.number not in ended])
        return steps

    def _decode(self) -> list[Step]:
        import torch

        device = self._model.device
        last = torch.tensor([[row.generated[-1]] for row in self._rows], device=device)
        ones = torch.ones(len(self._rows), 1, dtype=self._mask.dtype, device=device)
        self._mask = torch.cat([self._mask, ones], 1)
        positions = torch.tensor([[row.length + len(row.generated) - 1] for row in self._rows], device=device)
        out = self._model(
            last, attention_mask=self._mask, position_ids=positions, past_key_values=self._cache, use_cache=True
        )
        logits = out.logits[:, -1].float()
        return [self._choose(row, logits[i]) for i, row in enumerate(self._rows)]

    def _prefill(self, row: _Row) -> Step:
        import torch
        from transformers import DynamicCache

        ids = torch.tensor([row.request.prompt], device=self._model.device)
        cache = DynamicCache()
        out = self._model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self._join(row, cache, torch.ones_like(ids))
        return self._choose(row, out.logits[0, -1].float())

    def _choose(self, row: _Row, logits: Any) -> Step:
        logits = _penalised(logits, row)
        if row.mask and not row.mask.apply(logits):
            return row.number, [], "lost", []
        token = _sample(logits, row)
        if row.mask:
            row.mask.accept(token)
        chances = [_chance(logits, token, row.request.logprobs)] if row.request.logprobs is not None else []
        row.generated.append(token)
        finish = None
        if token in row.request.stop_ids or (row.mask and row.mask.complete):
            finish = "stop"
        elif len(row.generated) >= row.request.max_tokens:
            finish = "length"
        return row.number, [token], finish, chances

    def _join(self, row: _Row, cache: Any, mask: Any) -> None:
        """Appends a row's cache to the batch's, both padded on the left to the longer one."""
        import torch
        from torch.nn.functional import pad

        self._rows.append(row)
        if self._cache is None:
            self._cache, self._mask = cache, mask
            return
        length = max(self._mask.shape[1], mask.shape[1])
        for ours, theirs in zip(self._cache.layers, cache.layers, strict=True):
            for name in ("keys", "values"):
                both = [getattr(ours, name), getattr(theirs, name)]
                padded = [pad(x, (0, 0, length - x.shape[2], 0)) for x in both]
                setattr(ours, name, torch.cat(padded))
        self._mask = torch.cat([pad(m, (length - m.shape[1], 0)) for m in (self._mask, mask)])

    def _keep(self, indices: list[int]) -> None:
        """Drops all other rows, and the padding that only they needed."""
        if len(indices) == len(self._rows):
            return
        self._rows = [self._rows[i] for i in indices]
        if not indices:
            self._cache = self._mask = None
            return
        mask = self._mask[indices]
        first = int(mask.any(0).int().argmax())
        self._mask = mask[:, first:]
        for layer in self._cache.layers:
            layer.keys = layer.keys[indices, :, first:]
            layer.values = layer.values[indices, :, first:]


def _penalised(logits: Any, row: _Row) -> Any:
    """Returns logits with penalties as OpenAI defines them, and without stop ids while the answer is too short to
    end.
    """
    import torch

    request = row.request
    if len(row.generated) < request.min_tokens and request.stop_ids:
        logits[list(request.stop_ids)] = float("-inf")
    if row.generated and (request.frequency_penalty or request.presence_penalty):
        seen, counts = torch.tensor(row.generated, device=logits.device).unique(return_counts=True)
        logits[seen] -= request.frequency_penalty * counts + request.presence_penalty
    return logits


def _chance(logits: Any, token: int, others: int) -> Chance:
    """Returns a token's log probability before temperature and nucleus, and the likeliest tokens with theirs."""
    chances = logits.log_softmax(-1)
    likeliest = chances.topk(others)
    shown = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    return chances[token].item(), [(id_, logprob) for id_, logprob in shown if logprob > float("-inf")]


def _sample(logits: Any, row: _Row) -> int:
    """Returns a token chosen greedily, or by temperature and nucleus (Holtzman et al. 2019)."""
    import torch

    request = row.request
    if request.temperature == 0 or request.top_p == 0:
        return int(logits.argmax())
    probabilities = (logits / request.temperature).softmax(-1)
    if request.top_p < 1:
        ordered, indices = probabilities.sort(descending=True)
        ordered[ordered.cumsum(-1) - ordered >= request.top_p] = 0
        return int(indices[torch.multinomial(ordered, 1, generator=row.random)])
    return int(torch.multinomial(probabilities, 1, generator=row.random))


def _precision(asked: str, device: Any) -> str:
    import torch

    if asked != "auto":
        return asked
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast else "f32"
