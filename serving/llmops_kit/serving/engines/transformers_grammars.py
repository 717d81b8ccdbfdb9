"""Grammars on the transformers engine: xgrammar, which openvino-genai contains too, masks the logits of each step."""

import json
from collections.abc import Sequence
from typing import Any

from llmops_kit.serving.engines.engine import GRAMMAR_BYTES, Grammar, Tagged


class GrammarMasks:
    """Compiles grammars for one vocabulary."""

    def __init__(self, tokens: Sequence[bytes], size: int = 0) -> None:
        """Prepares a vocabulary.

        Args:
            tokens: the bytes of each token; empty for special ones, which no grammar allows.
            size: the number of logits, which may differ from the tokenizer's number of tokens; 0: equal to it.
        """
        import xgrammar

        self._size = size or len(tokens)
        known = xgrammar.TokenizerInfo(list(tokens[: self._size]), vocab_size=self._size, stop_token_ids=[])
        self._compiler = xgrammar.GrammarCompiler(known, max_threads=1, cache_limit_bytes=GRAMMAR_BYTES)

    @property
    def bytes(self) -> int:
        """Memory of the compiled grammars that are kept."""
        return self._compiler.get_cache_size_bytes()

    def compile(self, grammar: Grammar) -> int:
        """Compiles a grammar; returns the bytes of its compiled form.

        Raises:
            RuntimeError: xgrammar's own, the grammar doesn't compile.
        """
        return self._compiled(grammar).memory_size_bytes

    def _compiled(self, grammar: Grammar) -> Any:
        if grammar.schema:
            return self._compiler.compile_json_schema(grammar.schema)
        return self._compiler.compile_structural_tag(json.dumps(structural_tag(grammar)))

    def start(self, grammar: Grammar, stop_ids: Sequence[int]) -> "GrammarMask":
        """Returns the mask of one answer; one of `stop_ids` ends the answer, if there are any.

        Raises:
            RuntimeError: xgrammar's own, the grammar doesn't compile.
        """
        import xgrammar

        matcher = xgrammar.GrammarMatcher(
            self._compiled(grammar),
            override_stop_tokens=list(stop_ids) or None,
            terminate_without_stop_token=not stop_ids,
        )
        return GrammarMask(matcher, self._size)


class GrammarMask:
    """State of one answer in its grammar."""

    def __init__(self, matcher: Any, size: int) -> None:
        import xgrammar

        self._matcher = matcher
        self._bits = xgrammar.allocate_token_bitmask(1, size)

    def apply(self, logits: Any) -> bool:
        """Sets the logits of the tokens that the grammar doesn't allow next to minus infinity, in place.

        Returns whether it allows any: a vocabulary may lack the characters that a schema requires.
        """
        import xgrammar

        self._matcher.fill_next_token_bitmask(self._bits)
        xgrammar.apply_token_bitmask_inplace(logits.unsqueeze(0), self._bits.to(logits.device))
        return bool(self._bits.any())

    def accept(self, token: int) -> None:
        """Advances by an allowed token."""
        self._matcher.accept_token(token)

    @property
    def complete(self) -> bool:
        """Whether the answer has ended."""
        return self._matcher.is_terminated()


def structural_tag(grammar: Grammar) -> dict[str, Any]:
    """Returns a grammar of tagged JSON as xgrammar's structural tag."""
    tags = [_tag(choice) for choice in grammar.choices]
    if grammar.trigger:
        form = {"type": "triggered_tags", "triggers": [grammar.trigger], "tags": tags,
                "stop_after_first": not grammar.several}  # fmt: skip
        return {"type": "structural_tag", "format": form}
    form = {"type": "tags_with_separator", "tags": tags, "separator": grammar.separator, "at_least_one": True,
            "stop_after_first": not grammar.several}  # fmt: skip
    if grammar.before or grammar.after:
        form = {"type": "tag", "begin": grammar.before, "content": form, "end": grammar.after}
    return {"type": "structural_tag", "format": form}


def _tag(choice: Tagged) -> dict[str, Any]:
    content = {"type": "json_schema", "json_schema": json.loads(choice.schema)}
    return {"type": "tag", "begin": choice.begin, "content": content, "end": choice.end}
