"""Chat templates: from messages to token ids, and which of them bear loss."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from contract.errors import KitError

Messages = Sequence[dict[str, str]]

_PROBE = [
    {"role": "system", "content": "SYSTEM-7f3a"},
    {"role": "user", "content": "USER-91bc"},
    {"role": "assistant", "content": "ANSWER-20de"},
    {"role": "user", "content": "USER-65aa"},
    {"role": "assistant", "content": "ANSWER-bb04"},
]


class Encoded(NamedTuple):
    """A conversation as token ids, and for each whether it bears loss."""

    ids: list[int]
    answer: list[bool]


def with_system(messages: Messages, system_prompt: str) -> list[dict[str, str]]:
    """Put the system prompt first, as a server does, unless the conversation has a system message."""
    if not system_prompt or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system_prompt}, *messages]


def prompt_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """Token ids of a conversation up to where the next answer begins."""
    return tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)


def encode(tokenizer: Any, messages: Messages) -> Encoded:
    """Token ids of a whole conversation; the assistant's turns bear loss, their end token included.

    Needs a template that renders the beginning of a conversation as the beginning of the whole: `check_template`.
    """
    ids: list[int] = tokenizer.apply_chat_template(list(messages), return_dict=False)
    answer = [False] * len(ids)
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(prompt_ids(tokenizer, messages[:i]))
            end = len(tokenizer.apply_chat_template(list(messages[: i + 1]), return_dict=False))
            answer[start:end] = [True] * (end - start)
    return Encoded(ids, answer)


def check_template(tokenizer: Any, where: str) -> None:
    """Refuse a chat template that loses content or renders an answer otherwise than a server asks for it.

    Raises:
        KitError: no template, lost content, or a prefix that is not one.
    """
    fix = "take an instruction-tuned model, or put a working chat_template.jinja beside its tokenizer"
    if not tokenizer.chat_template:
        raise KitError("has no chat template, so it is not a chat model", where=where, fix=fix)
    try:
        text = tokenizer.apply_chat_template(_PROBE, tokenize=False)
        ids = tokenizer.apply_chat_template(_PROBE, return_dict=False)
        prefixes = [
            (prompt_ids(tokenizer, _PROBE[:2]), 2),
            (tokenizer.apply_chat_template(_PROBE[:3], return_dict=False), 3),
            (prompt_ids(tokenizer, _PROBE[:4]), 4),
        ]
    except Exception as e:  # the template is the model's: jinja's errors and its own raise_exception
        raise KitError(f"its chat template fails on a plain conversation: {e}", where=where, fix=fix) from e
    position = 0
    for message in _PROBE:
        position = text.find(message["content"], position)
        if position < 0:
            raise KitError(
                f"its chat template loses the content of the {message['role']}'s message", where=where, fix=fix
            )
    for prefix, turns in prefixes:
        if ids[: len(prefix)] != prefix:
            raise KitError(
                f"its chat template renders the first {turns} messages otherwise when more follow, "
                "so that the answer's tokens can't be told from the rest",
                where=where,
                fix=fix,
            )
