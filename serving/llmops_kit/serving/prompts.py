"""Converts messages to token ids and back, with a model's files."""

import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from llmops_kit.core.errors import ServingError
from llmops_kit.core.models.chat_template import ChatTemplate
from llmops_kit.core.models.tool_call_stream import CallForm, form_of
from llmops_kit.core.models.tool_calls import CLOSE, OPEN
from llmops_kit.serving.vocabulary import token_bytes

Read = Callable[[str], bytes | None]


class TooLongError(ValueError):
    """Error for a conversation that does not fit the model's context."""


class Prompts:
    """A model's tokenizer, chat template and configuration.

    Attributes:
        context_length: maximum tokens of prompt and answer together.
        stop_ids: ids that end an answer.
        call_form: format in which the model writes tool calls; None: one that is not parsed here.
        takes_tools: whether the chat template shows the model the tools that it may call.
        longest_text: characters above which a conversation can't fit the context, even if each token were the longest
            of the vocabulary.
    """

    def __init__(self, read: Read, folder: Path, *, chats: bool = True) -> None:
        """Reads all files at once.

        Args:
            read: returns a file's content by its name, None if it is missing.
            folder: origin of the files, for messages only.
            chats: whether the model generates text; an embedding model has neither a chat template nor stop ids.
        """
        files = _Files(read, folder)
        self._tokenizer = files.tokenizer()
        config = files.json("tokenizer_config.json")
        self._special_tokens = _special_tokens(config)
        source = files.template(config) if chats else ""
        self._template = self._compiled(source, folder)
        self.takes_tools = self._template.takes_tools
        self.call_form: CallForm | None = form_of(source)
        self.context_length = _context_length(files)
        self.stop_ids: tuple[int, ...] = self._stop_ids(files) if chats else ()
        specials = self._tokenizer.get_added_tokens_decoder()
        # The markup of calls is part of the answer, even if a tokenizer has it among its special tokens.
        self._markup = {i: t.content for i, t in specials.items() if t.special and t.content in (OPEN, CLOSE)}
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.longest_text = self.context_length * max(map(len, vocabulary), default=1)

    @classmethod
    def of(cls, folder: Path) -> "Prompts":
        """Reads the files of a folder, which must not change meanwhile."""
        return cls(lambda name: (folder / name).read_bytes() if (folder / name).is_file() else None, folder)

    def _compiled(self, source: str, folder: Path) -> ChatTemplate:
        try:
            return ChatTemplate(source, self._special_tokens, self._tokenizer)
        except ValueError as e:
            raise ServingError(str(e), where=str(folder / "chat_template.jinja"), fix="correct it") from None

    def _stop_ids(self, files: "_Files") -> tuple[int, ...]:
        found: list[int] = []
        for name in ("generation_config.json", "config.json"):
            ids = files.json(name, optional=True).get("eos_token_id")
            found += ids if isinstance(ids, list) else [ids] if isinstance(ids, int) else []
        if not found and "eos_token" in self._special_tokens:
            found = [self._tokenizer.token_to_id(self._special_tokens["eos_token"])]
        if not found:
            raise ServingError("has no eos_token_id", where=str(files.folder / "config.json"), fix="add it")
        return tuple(dict.fromkeys(found))

    def encode(self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None = None) -> list[int]:
        """Returns the token ids of a conversation up to the assistant's answer: the same that training puts before an
        answer.

        A special token that a caller spells out in a message becomes ordinary text.

        Raises:
            TooLongError: it takes more tokens than the context has.
            ValueError: the template refuses the messages (their order or roles), with its reason.
        """
        if (length := characters(messages, tools)) > self.longest_text:
            raise TooLongError(f"the messages have {length} characters")
        return self._fitting(self._template.ids(self._template.render(messages, tools, add_generation_prompt=True)))

    def encode_text(self, text: str) -> list[int]:
        """Returns the token ids of a text that the model continues without a template.

        Raises:
            TooLongError: it takes more tokens than the context has.
        """
        if len(text) > self.longest_text:
            raise TooLongError(f"the prompt has {len(text)} characters")
        begin = self._tokenizer.token_to_id(self._special_tokens.get("bos_token", ""))
        begins = self._tokenizer.encode("").ids[:1] == [begin]  # whether the tokenizer begins every text with it
        return self._fitting([*([begin] if begins else []), *self._template.text_ids(text)])

    def encode_input(self, text: str) -> list[int]:
        """Returns the token ids of a text to embed, with the special tokens that the tokenizer puts around it.

        A special token that the text spells out counts as one, as in the libraries that train such models.
        """
        return self._tokenizer.encode(text).ids

    def _fitting(self, ids: list[int]) -> list[int]:
        if len(ids) > self.context_length:
            raise TooLongError(f"the messages take {len(ids)}")
        return ids

    def decode(self, ids: list[int]) -> str:
        """Returns the text of tokens, without special ones."""
        if self._markup.keys().isdisjoint(ids):
            return self._tokenizer.decode(ids, skip_special_tokens=True)
        text, start = "", 0
        for place, id_ in enumerate(ids):
            if id_ in self._markup:
                text += self._tokenizer.decode(ids[start:place], skip_special_tokens=True) + self._markup[id_]
                start = place + 1
        return text + self._tokenizer.decode(ids[start:], skip_special_tokens=True)

    def token(self, id_: int) -> tuple[str, bytes]:
        """Returns a single token's text, special or not, and its bytes."""
        content = self.vocabulary[id_]
        return content.decode(errors="replace"), content

    @cached_property
    def vocabulary(self) -> list[bytes]:
        """The bytes of every token, by its id."""
        return token_bytes(json.loads(self._tokenizer.to_str()), specials=True)

    def text_vocabulary(self) -> list[bytes]:
        """Returns the bytes of every token that may occur in a text; empty for special ones."""
        return token_bytes(json.loads(self._tokenizer.to_str()), specials=False)


def characters(messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]] | None = None) -> int:
    """Returns the length of a conversation in characters, including its calls and tools."""
    length = sum(len(message["content"]) for message in messages)
    for part in (tools, *(message.get("tool_calls") for message in messages)):
        length += len(json.dumps(part, ensure_ascii=False)) if part else 0
    return length


class _Files:
    """Reads a model's files."""

    def __init__(self, read: Read, folder: Path) -> None:
        self._read = read
        self.folder = folder

    def json(self, name: str, *, optional: bool = False) -> dict[str, Any]:
        content, where = self._read(name), str(self.folder / name)
        if content is None:
            if optional:
                return {}
            raise ServingError("is missing", where=where, fix="package the model with its whole folder")
        try:
            return json.loads(content)
        except ValueError as e:
            raise ServingError(f"is not JSON: {e}", where=where, fix="package the model again") from None

    def tokenizer(self) -> Any:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # leaves the processors to the engine
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_buffer(self._read("tokenizer.json") or b"")
        except Exception as e:  # the library raises no narrower type
            where, fix = str(self.folder / "tokenizer.json"), "package the model with its tokenizer"
            raise ServingError(f"is not a tokenizer: {e}", where=where, fix=fix) from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def template(self, config: dict[str, Any]) -> str:
        if (source := self._read("chat_template.jinja")) is not None:
            return source.decode()
        template = config.get("chat_template")
        if isinstance(template, list):
            template = next((t["template"] for t in template if t.get("name") == "default"), None)
        if not isinstance(template, str):
            where = str(self.folder / "chat_template.jinja")
            raise ServingError("is missing", where=where, fix="only chat models are served: add the chat template")
        return template


def _context_length(files: _Files) -> int:
    length = files.json("config.json").get("max_position_embeddings")
    if not isinstance(length, int):
        raise ServingError(
            "is not given", where=f"{files.folder / 'config.json'}: max_position_embeddings", fix="add it"
        )
    return length


def _special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """Returns special tokens such as bos_token, by the names that templates use."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[name] = text
    return found
