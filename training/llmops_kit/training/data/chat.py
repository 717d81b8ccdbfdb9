"""Conversations as token ids, and which of them bear loss: the assistant's answers with their end tokens.

Training matches serving: the ids before an answer are those that a server makes with the model's own template, and loss
begins right after them. If trl has a training template for the model, it renders the answer: these templates keep
reasoning that the model's own drops, and end turns that it leaves open. trl's `{% generation %}` marks are not used, as
they include headers that serving writes, and templates that trl doesn't know have none.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache, lru_cache
from importlib.util import find_spec
from os.path import commonprefix
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llmops_kit.core.errors import DataError, KitError
from llmops_kit.core.models.chat_template import ChatTemplate, without_marks
from llmops_kit.training.data.turns import is_answer
from llmops_kit.training.process import show

Messages = Sequence[Mapping[str, Any]]

_FIX = "change the row, take a base model whose chat template renders it, or set base_model.chat_template"
_PROBE: list[dict[str, Any]] = [
    {"role": "user", "content": "USER-91bc"},
    {"role": "assistant", "content": "ANSWER-20de"},
]
_CALL_ID = "call00001"  # Mistral's templates accept exactly nine letters and digits
_CALL = {
    "id": _CALL_ID,
    "type": "function",
    "function": {"name": "tool_4c1e", "arguments": {"argument": "ARGUMENT-8d02"}},
}
_CALLED_PROBE = [
    _PROBE[0],
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
    {"role": "tool", "content": "RESULT-9b2e", "tool_call_id": _CALL_ID, "name": "tool_4c1e"},
]
_THOUGHT = "<think>\nREASON-7f3a\n</think>\n\n"


class Encoded(NamedTuple):
    """A conversation, or a part of one, as token ids."""

    ids: npt.NDArray[np.int32]
    """Token ids."""
    answer: npt.NDArray[np.bool_]
    """Whether each token bears loss."""


def with_system(messages: Messages, system_prompt: str) -> list[Mapping[str, Any]]:
    """Returns messages with the system prompt first, as a server does, unless they begin with a system message."""
    if not system_prompt or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system_prompt}, *messages]


def prompt_ids(tokenizer: Any, messages: Messages, tools: Messages = ()) -> list[int]:
    """Returns the token ids of a conversation up to where the next answer begins, as serving makes them.

    Raises:
        DataError: the model's chat template refuses the messages, or drops a tool.
    """
    chat = _own_template(tokenizer)
    try:
        prompt = chat.render(messages, tools, add_generation_prompt=True)
        _check_offered(prompt, tools)
        return chat.ids(prompt)
    except ValueError as e:
        raise DataError(str(e), fix=_FIX) from None


def encode(tokenizer: Any, messages: Messages, tools: Messages = (), completion: int = 0) -> list[Encoded]:
    """Tokenises a conversation whose answers are learned, their end token included.

    Answers share one sequence as long as the template renders the turns before them unchanged. Templates that rewrite
    earlier turns (Qwen3 drops their reasoning) give a sequence for each answer, with the prompt that a server would
    send.

    Args:
        tools: what the model may call, in OpenAI's form.
        completion: how many messages at the end are learned; 0: all.

    Raises:
        DataError: the template loses a part of the conversation, or the prompt that is served is not a prefix of the
            text that would be trained.
    """
    chat = _own_template(tokenizer)
    examples: list[Encoded] = []
    roles = [message["role"] for message in messages]
    start = len(messages) - completion if completion else 0
    ids: list[int] = []
    answer: list[bool] = []
    try:
        for index in range(start, len(messages)):
            if not is_answer(roles, index):
                continue
            prompt, whole = _asked_and_answered(tokenizer, messages[: index + 1], tools)
            prompt_part, whole_part = chat.ids(prompt), chat.ids(whole)
            if whole_part[: len(prompt_part)] != prompt_part:  # a token would reach over the end of the prompt
                whole_part = prompt_part + chat.ids(whole[len(prompt) :])
            if prompt_part[: len(ids)] != ids:
                examples.append(_encoded(ids, answer))
                answer = []
            answer += [False] * (len(prompt_part) - len(answer)) + [True] * (len(whole_part) - len(prompt_part))
            ids = whole_part
    except ValueError as e:
        raise DataError(str(e), fix=_FIX) from None
    return [*examples, _encoded(ids, answer)]


def document_ids(tokenizer: Any, text: str) -> list[int]:
    """Returns the token ids of a plain text and its end token, after a start token if the tokenizer writes one.

    Raises:
        DataError: the text spells out a special token that can't be written with other tokens.
    """
    try:
        ids = _compiled(tokenizer, "").text_ids(text)
    except ValueError as e:
        raise DataError(str(e), fix="take the special token out of the text") from None
    begins = _core(tokenizer).encode("").ids[:1] == [tokenizer.bos_token_id]
    return [*([tokenizer.bos_token_id] if begins else []), *ids, tokenizer.eos_token_id]


def check_template(tokenizer: Any, where: str) -> None:
    """Refuses a chat template that silently drops system messages, or with which no conversation trains as it is
    served.

    Faults that affect only some rows, such as a lack of tools, are refused with those rows, by `encode`.

    Raises:
        KitError: no template, or one that loses content, or whose served prompt is not a prefix of the trained text.
    """
    fix = "take an instruction-tuned model, or put a working chat_template.jinja beside its tokenizer"
    if not tokenizer.chat_template:
        raise KitError("has no chat template, so it is not a chat model", where=where, fix=fix)
    if reason := _loss_of_system_message(tokenizer):
        raise KitError(reason, where=where, fix=fix)
    try:
        encode(tokenizer, _PROBE)
    except KitError as e:
        thought = [_PROBE[0], {**_PROBE[1], "content": _THOUGHT + _PROBE[1]["content"]}]
        try:  # the answers of a model that always reasons
            encode(tokenizer, thought)
        except KitError:
            raise KitError(e.what, where=where, fix=fix) from None


def _loss_of_system_message(tokenizer: Any) -> str:
    messages = [{"role": "system", "content": "SYSTEM-7f3a"}, _PROBE[0]]
    try:
        prompt = _own_template(tokenizer).render(messages, add_generation_prompt=True)
    except ValueError:
        return ""  # `encode` refuses the rows that have one
    return "" if messages[0]["content"] in prompt else "the model's chat template loses the system's message"


def _asked_and_answered(tokenizer: Any, messages: Messages, tools: Messages) -> tuple[str, str]:
    """Returns the text with which serving asks for the last message, and that text with the message."""
    own, trained = _own_template(tokenizer), _training_template(tokenizer)
    if tools or any("tool_calls" in m or m["role"] == "tool" for m in messages):
        _check_tools(tokenizer)
    prompt = own.render(messages[:-1], tools, add_generation_prompt=True)
    _check_prompt(prompt, messages[:-1], tools)
    refusals: list[str] = []
    for template in (trained, own) if trained else (own,):
        try:
            return prompt, prompt + _answer(template, prompt, messages, tools)
        except ValueError as e:
            refusals.append(str(e))
    raise ValueError(refusals[-1])


def _answer(template: ChatTemplate, prompt: str, messages: Messages, tools: Messages) -> str:
    """Returns the text with which a template continues its own prompt for the last message.

    Raises:
        ValueError: the prompt does not open the answer as serving's does, or the template loses a part of the answer.
    """
    asked = template.render(messages[:-1], tools, add_generation_prompt=True)
    opening = _opening(template, messages[:-1], tools)
    whole = template.render(messages, tools, add_generation_prompt=False).rstrip()
    if not (whole.startswith(asked) and prompt.endswith(opening)):
        raise ValueError(
            f"the model's chat template asks for an answer with {without_marks(prompt)[-40:]!r}, but renders this one "
            "differently: training would not match serving (models that always reason need answers that begin with "
            "<think>)"
        )
    if not opening and (header := _opening(template, _PROBE[:1])) and whole.startswith(header, len(asked)):
        raise ValueError("the model's chat template asks for an answer to a tool without the header that it gives it")
    message, text = messages[-1], _squeezed(whole)
    content = _squeezed(message["content"])
    # The content may begin in the prompt, which opens the reasoning of some models.
    if content and text.rfind(content) + len(content) <= len(_squeezed(asked)):
        raise ValueError("the model's chat template loses the answer, or a part of it")
    if content and text.endswith(content):
        raise ValueError("the model's chat template does not end answers, so the model would not learn to stop")
    names = [call["function"]["name"] for call in message.get("tool_calls", ())]
    for name in names:
        if whole.count(name, len(asked)) < names.count(name):
            raise ValueError(f"the model's chat template loses the call of {name!r}")
    return whole[len(asked) :]


def _opening(template: ChatTemplate, messages: Messages, tools: Messages = ()) -> str:
    """Returns the text that a template appends to ask for an answer."""
    asked, before = (template.render(messages, tools, add_generation_prompt=prompt) for prompt in (True, False))
    return asked[len(commonprefix([asked, before])) :]  # noqa: RUF071 (texts, not paths)


def _check_tools(tokenizer: Any) -> None:
    if not _keeps_tools(tokenizer, _source(tokenizer)):
        raise ValueError("the model's chat template drops tool calls or their results")


def _check_prompt(prompt: str, messages: Messages, tools: Messages) -> None:
    text = _squeezed(prompt)
    _check_offered(prompt, tools)
    for message in messages:
        if message["role"] != "assistant" and not _holds(text, message["content"]):
            raise ValueError(f"the model's chat template loses the content of the {message['role']}'s message")


def _check_offered(prompt: str, tools: Messages) -> None:
    for tool in tools:
        if (name := tool["function"]["name"]) not in prompt:
            raise ValueError(f"the model's chat template drops the tool {name!r}")


def _squeezed(text: str) -> str:
    """Returns a text without whitespace, which templates trim and insert freely."""
    return "".join(without_marks(text).split())


def _holds(squeezed: str, content: str) -> bool:
    """Returns whether a rendered text contains a content, literally or as a JSON string."""
    forms = (content, json.dumps(content, ensure_ascii=False)[1:-1])
    return any(_squeezed(form) in squeezed for form in forms)


def _encoded(ids: list[int], answer: list[bool]) -> Encoded:
    return Encoded(np.array(ids, np.int32), np.array(answer, np.bool_))


def _source(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    return template["default"] if isinstance(template, dict) else template


def _own_template(tokenizer: Any) -> ChatTemplate:
    return _compiled(tokenizer, _source(tokenizer))


@lru_cache(maxsize=4)
def _compiled(tokenizer: Any, source: str) -> ChatTemplate:
    names = {name: token for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return ChatTemplate(source, names, _core(tokenizer))


@lru_cache(maxsize=2)
def _core(tokenizer: Any) -> Any:
    """Returns a copy of a tokenizer's backend without padding and truncation, which other users of the original may
    have enabled.
    """
    core = deepcopy(tokenizer.backend_tokenizer)
    core.no_truncation()
    core.no_padding()
    return core


def _training_template(tokenizer: Any) -> ChatTemplate | None:
    """Returns trl's training template for the model, if there is one: it keeps reasoning that the model's own template
    drops.
    """
    source = _training_source(tokenizer, _source(tokenizer))
    return _compiled(tokenizer, source) if source else None


@lru_cache(maxsize=4)
def _training_source(tokenizer: Any, source: str) -> str | None:
    if source not in known_to_trl():
        return None
    show("datasets")  # trl can't be imported without it
    from trl.chat_template_utils import get_training_chat_template

    try:
        return get_training_chat_template(tokenizer)
    except Exception:  # trl has none for the template, or it fails: its errors and the template's own
        return None


@cache
def known_to_trl() -> frozenset[str]:
    """Returns the chat templates that trl compares a model's with. Reads its files, since importing it takes a second
    of processor time.
    """
    found = find_spec("trl")
    folder = Path(found.origin).parent / "chat_templates" if found and found.origin else Path()
    return frozenset(path.read_text(encoding="utf-8") for path in folder.glob("*.jinja"))


@lru_cache(maxsize=4)
def _keeps_tools(tokenizer: Any, source: str) -> bool:
    """Returns whether a template renders a call, its arguments and its result. trl asks the same without ids of calls,
    which templates may require, as Mistral's do.
    """
    try:
        text = _compiled(tokenizer, source).render(_CALLED_PROBE, add_generation_prompt=False)
    except ValueError:
        return False
    return all(word in text for word in ("tool_4c1e", "ARGUMENT-8d02", "RESULT-9b2e"))
