"""Messages to token ids and back: the model's chat template in a sandbox, and its tokenizer.

Only `tokenizers` and `jinja2`: the ids equal those of transformers' apply_chat_template, whose import takes a second.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from contract.errors import ServingError

# Unicode noncharacters: they mark where a caller's text spells a special token, and never stand in text themselves.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")
_TEMPLATE_OVERHEAD = 100_000

Read = Callable[[str], bytes | None]


class TooLongError(ValueError):
    """A conversation does not fit the model's context."""


class Prompts:
    """A model's tokenizer, chat template and configuration.

    Attributes:
        context_length: tokens that the prompt and its answer may have together.
        stop_ids: ids that end an answer.
        longest_text: characters above which a conversation can't fit the context: as many as it had if each token were
            the longest of the vocabulary.
    """

    def __init__(self, read: Read, folder: Path) -> None:
        """Read everything at once.

        Args:
            read: a file's content by its name, None where there is none.
            folder: where they come from, for messages only.
        """
        files = _Files(read, folder)
        self._tokenizer = files.tokenizer()
        config = files.json("tokenizer_config.json")
        self._names = _special_names(config)
        self._template = _compile(files.template(config), folder)
        added = (token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special)
        self._specials = re.compile("|".join(re.escape(t) for t in sorted(added, key=len, reverse=True)) or r"(?!)")
        self.context_length = _context_length(files)
        self.stop_ids = self._stop_ids(files)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.longest_text = self.context_length * max(map(len, vocabulary), default=1)

    @classmethod
    def of(cls, folder: Path) -> "Prompts":
        """Those of a folder whose files nobody changes meanwhile."""
        return cls(lambda name: (folder / name).read_bytes() if (folder / name).is_file() else None, folder)

    def _stop_ids(self, files: "_Files") -> tuple[int, ...]:
        found: list[int] = []
        for name in ("generation_config.json", "config.json"):
            ids = files.json(name, optional=True).get("eos_token_id")
            found += ids if isinstance(ids, list) else [ids] if isinstance(ids, int) else []
        if not found and "eos_token" in self._names:
            found = [self._tokenizer.token_to_id(self._names["eos_token"])]
        if not found:
            raise ServingError("has no eos_token_id", where=str(files.folder / "config.json"), fix="add it")
        return tuple(dict.fromkeys(found))

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Token ids of a conversation, up to where the assistant answers.

        A special token that a caller spells out in a message becomes ordinary text, so that no message can end itself
        and speak as another role.

        Raises:
            TooLongError: it takes more tokens than the context has.
            ValueError: the template refuses the messages (their order or roles), with its reason.
        """
        if (length := sum(len(m["content"]) for m in messages)) > self.longest_text:
            raise TooLongError(f"the messages have {length} characters")
        marked = [{**m, "content": self._mark(m["content"])} for m in messages]
        parts = _MARKS.split(self._render(marked))
        # In batches, which tokenizers encodes without the interpreter lock; a text alone would stop every stream.
        encodings = self._tokenizer.encode_batch_fast(parts[::2], add_special_tokens=False)
        if len(parts) > 1:
            literal = self._literal.encode_batch_fast(parts[1::2], add_special_tokens=False)
            encodings = [encodings[i // 2] if i % 2 == 0 else literal[i // 2] for i in range(len(parts))]
        if (count := sum(map(len, encodings))) > self.context_length:
            raise TooLongError(f"the messages take {count}")
        return [id_ for encoding in encodings for id_ in encoding.ids]

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, special ones left out."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    @cached_property
    def _literal(self) -> Any:
        tokenizer = deepcopy(self._tokenizer)
        tokenizer.encode_special_tokens = True
        return tokenizer

    def _mark(self, text: str) -> str:
        return self._specials.sub(rf"{_OPEN}\g<0>{_CLOSE}", _MARKS.sub("\ufffd", text))

    def _render(self, messages: list[dict[str, str]]) -> str:
        from jinja2 import TemplateError

        limit = sum(len(m["content"]) for m in messages) + _TEMPLATE_OVERHEAD
        parts: list[str] = []
        try:
            # None, not undefined: templates ask `tools is not none`.
            context = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
            for part in self._template.generate(context | self._names):
                parts.append(part)
                limit -= len(part)
                if limit < 0:
                    raise ValueError("the model's chat template writes more than it was given")
        except TemplateError as e:
            raise ValueError(f"the model's chat template refuses the messages: {e}") from None
        return "".join(parts)


class _Files:
    """A model's files as this module needs them."""

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
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the processors are the engine's
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_buffer(self._read("tokenizer.json") or b"")
        except Exception as e:  # the library raises no narrower type
            where, fix = str(self.folder / "tokenizer.json"), "package the model with its tokenizer"
            raise ServingError(f"is no tokenizer: {e}", where=where, fix=fix) from None
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


def _special_names(config: dict[str, Any]) -> dict[str, str]:
    """bos_token and the like, as templates use them."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[name] = text
    return found


def _compile(source: str, folder: Path) -> Any:
    """A template in jinja2's sandbox with what transformers gives chat templates."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks the assistant's part for training; here it is only its content."""

        tags = {"generation"}  # noqa: RUF012 (jinja2's own type)

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except TemplateError as e:
        raise ServingError(f"is no template: {e}", where=str(folder / "chat_template.jinja"), fix="mend it") from None
