"""openvino-genai's continuous batching on a CPU."""

import json
from pathlib import Path
from typing import Any

from llmops_kit.serving.engines.cpu_precision import cpu_precision
from llmops_kit.serving.engines.engine import Chance, GenerationRequest, LoadOrder
from llmops_kit.serving.engines.gathering import STEP_TOKENS
from llmops_kit.serving.engines.openvino_grammars import GrammarMemory, structured_output, vocabulary_tokenizer
from llmops_kit.serving.engines.worker import Step
from llmops_kit.serving.vocabulary import token_bytes


def warm() -> None:
    """Imports the library."""
    import openvino_genai  # noqa: F401


class OpenVinoBackend:
    """One pipeline over a model version's `openvino` folder, which contains no tokenizer: ids in and out.

    The version's tokenizer.json provides the tokens' texts, so that answers can be constrained by grammars.
    """

    def __init__(self) -> None:
        self._pipeline: Any = None
        # A dropped handle cancels its request: kept until the request ends.
        self._handles: dict[int, Any] = {}
        self._grammars: GrammarMemory | None = None
        self._cancelled: dict[int, Any] = {}
        self._with_chances: set[int] = set()
        self._finishes: dict[Any, str] = {}
        self._lost: tuple[Any, ...] = ()

    def load(self, order: LoadOrder, folder: Path) -> dict[str, Any]:
        """Builds the pipeline."""
        import openvino
        import openvino_genai

        reason, status = openvino_genai.GenerationFinishReason, openvino_genai.GenerationStatus
        self._finishes = {reason.STOP: "stop", reason.LENGTH: "length"}
        # IGNORED: out of memory for it. FINISHED without a reason should not occur: lost, rather than waited for.
        self._lost = (status.IGNORED, status.CANCEL, status.STOP, status.FINISHED)
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.max_num_batched_tokens = STEP_TOKENS
        scheduler.enable_prefix_caching = order.prefix_cache  # it finds blocks by a 64-bit hash that can be forged
        properties: dict[str, Any] = {}
        if order.precision != "auto":
            properties["INFERENCE_PRECISION_HINT"] = order.precision
        if order.precision == "f32":
            properties["KV_CACHE_PRECISION"] = "f32"  # by default keys and values are rounded to 8 bits
        if order.threads:
            properties["INFERENCE_NUM_THREADS"] = order.threads
        precision = cpu_precision(openvino.Core(), order.precision)
        tokens = token_bytes(json.loads((folder / "tokenizer.json").read_bytes()), specials=False)
        tokenizer = vocabulary_tokenizer(tokens)
        self._grammars = GrammarMemory(tokenizer)
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            str(folder / "openvino"), tokenizer, scheduler, "CPU", **properties
        )
        # Its penalties shrink a logit towards zero, which makes repeating likelier where logits are negative.
        version = openvino_genai.__version__
        return {"engine": "openvino", "precision": precision, "version": version, "penalties": False,
                "top_logprobs": 0}  # fmt: skip

    def add(self, number: int, request: GenerationRequest) -> None:
        """Validates a request before adding it: if only `step` rejected it, all requests would fail."""
        import numpy
        import openvino

        config = _config(request)
        config.validate()
        assert self._grammars
        if request.grammar:
            self._grammars.bound()
        prompt = openvino.Tensor(numpy.array([request.prompt], dtype=numpy.int64))
        self._handles[number] = self._pipeline.add_request(number, prompt, config)
        if request.logprobs is not None:
            self._with_chances.add(number)

    def cancel(self, number: int) -> None:
        """Marks the request; the next step frees its slot."""
        if handle := self._handles.pop(number, None):
            handle.cancel()
            self._cancelled[number] = handle
            self._with_chances.discard(number)

    def step(self) -> list[Step]:
        """Runs one step of the pipeline, and returns its output for each request."""
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        self._cancelled.clear()
        steps = [self._read(number, handle) for number, handle in self._handles.items()]
        for number, _, finish, _ in steps:
            if finish:
                del self._handles[number]
                self._with_chances.discard(number)
        return [step for step in steps if step[1] or step[2]]

    def _read(self, number: int, handle: Any) -> Step:
        ids: list[int] = []
        chances: list[Chance] = []
        while handle.can_read():
            for output in handle.read().values():
                ids += output.generated_ids
                if number in self._with_chances:
                    chances += [(logprob, []) for logprob in output.generated_log_probs]
                if finish := self._finishes.get(output.finish_reason):
                    return number, ids, finish, chances
        if not ids and handle.get_status() in self._lost:
            return number, ids, "lost", chances
        return number, ids, None, chances

    def numbers(self) -> list[int]:
        """Returns the running requests, and cancelled ones that the next step removes."""
        return [*self._handles, *self._cancelled]

    def grammar_bytes(self) -> int:
        """Returns the memory of the compiled grammars that genai keeps."""
        return self._grammars.bytes if self._grammars else 0


def _config(request: GenerationRequest) -> Any:
    from openvino_genai import GenerationConfig

    config = GenerationConfig(max_new_tokens=request.max_tokens)
    if request.stop_ids:
        config.eos_token_id = request.stop_ids[0]
        config.stop_token_ids = set(request.stop_ids)  # must hold the end-of-sequence id too
    else:
        config.ignore_eos = True  # otherwise genai uses the one of the model's generation_config.json
    if request.temperature > 0 and request.top_p > 0:
        config.do_sample = True
        config.temperature = request.temperature
        config.top_p = request.top_p
        config.rng_seed = request.seed
    config.min_new_tokens = request.min_tokens
    config.logprobs = int(request.logprobs is not None)
    if request.grammar:
        config.structured_output_config = structured_output(request.grammar)
    return config
