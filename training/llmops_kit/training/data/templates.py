"""Tests which parts of conversations a model's chat template can train and serve."""

import json
from pathlib import Path
from typing import Any

from llmops_kit.core.documents.model_check import TemplateReport
from llmops_kit.core.errors import DataError, KitError
from llmops_kit.core.models.tool_call_stream import form_of
from llmops_kit.training.data.chat import Messages, check_template, encode

_ASKED = {"role": "user", "content": "QUESTION-5c1d"}
_ANSWERED = {"role": "assistant", "content": "ANSWER-20de"}
_SYSTEM = {"role": "system", "content": "SYSTEM-7f3a"}
_CALL = {"id": "call00001", "type": "function", "function": {"name": "find_fare", "arguments": {"city": "Kiel"}}}
_CALLED = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_RESULT = {"role": "tool", "content": "RESULT-9b2e", "tool_call_id": "call00001", "name": "find_fare"}
_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "Its name."}}}
_TOOL = {
    "type": "function",
    "function": {"name": "find_fare", "description": "Finds a fare.", "parameters": _PARAMETERS},
}
_THOUGHT = "<think>\nREASON-3a7c\n</think>\n\n"


def report_of(tokenizer: Any) -> TemplateReport:
    """Returns the refusals of a tokenizer's chat template, and the form of its tool calls."""
    try:
        check_template(tokenizer, "")
    except KitError as e:
        return TemplateReport(refusal=e.what)
    tools = _refusal(tokenizer, [_ASKED, _CALLED, _RESULT, _ANSWERED], [_TOOL])
    form = None if tools else form_of(tokenizer.chat_template)
    return TemplateReport(
        system=_refusal(tokenizer, [_SYSTEM, _ASKED, _ANSWERED]), tools=tools, calls=form.name if form else ""
    )


def stand_in_tokenizer(folder: Path) -> Any:
    """Returns a tokenizer of bytes, with the special tokens and the chat template of a folder that lacks its
    vocabulary.

    Args:
        folder: has tokenizer_config.json, and the template there or in chat_template.jinja.

    Raises:
        KitError: the configuration can't be read.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    config = _config(folder)
    named = {
        name: text
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        if (text := _token_text(config.get(name)))
    }
    added = [_token_text(token) for token in config.get("added_tokens_decoder", {}).values() if token.get("special")]
    special = list(dict.fromkeys([*named.values(), *filter(None, added)]))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    core.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=core, **named)
    tokenizer.chat_template = _template(folder, config)
    return tokenizer


def _refusal(tokenizer: Any, messages: Messages, tools: Messages = ()) -> str:
    """Returns why a conversation is refused, also with reasoning, which some models always need; empty if it isn't."""
    thought = [
        {**m, "content": _THOUGHT + m["content"]} if m["role"] == "assistant" and m["content"] else m for m in messages
    ]
    try:
        encode(tokenizer, messages, tools)
    except DataError as e:
        try:
            encode(tokenizer, thought, tools)
        except DataError:
            return e.what
    return ""


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    try:
        found = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as e:
        raise KitError(f"is not JSON: {e}", where=str(path), fix="fetch the model again") from None
    return found if isinstance(found, dict) else {}


def _token_text(token: Any) -> str:
    """Returns the text of a token in any of the forms of tokenizer_config.json."""
    return token.get("content", "") if isinstance(token, dict) else token or ""


def _template(folder: Path, config: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text()
    stated = config.get("chat_template")
    if isinstance(stated, list):  # several, by name
        return next((each.get("template") for each in stated if each.get("name") == "default"), None)
    return stated
