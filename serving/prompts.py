"""Messages to token ids and back: the model's chat template in a sandbox, and its tokenizer.

Only `tokenizers` and `jinja2`: the ids equal those of transformers' apply_chat_template, whose import takes a second.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from contract.errors import ServingError

# Unicode noncharacters: they mark where a caller's text spells a special token, and never stand in text themselves.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")
_TEMPLATE_OVERHEAD = 100_000


class Prompts:
    """Reads a model folder's tokenizer, chat template and configuration."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer = _tokenizer(folder)
        config = _read_json(folder / "tokenizer_config.json")
        self._names = _special_names(config)
        self._template = _compile(_template_source(folder, config), folder)
        added = (token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special)
        self._specials = re.compile("|".join(re.escape(t) for t in sorted(added, key=len, reverse=True)) or r"(?!)")

    @cached_property
    def context_length(self) -> int:
        """Tokens that the prompt and its answer may have together."""
        config = _read_json(self._folder / "config.json")
        length = config.get("max_position_embeddings")
        if not isinstance(length, int):
            raise ServingError(
                "is not given", where=f"{self._folder / 'config.json'}: max_position_embeddings", fix="add it"
            )
        return length

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an answer."""
        found: list[int] = []
        for name in ("generation_config.json", "config.json"):
            ids = _read_json(self._folder / name, optional=True).get("eos_token_id")
            found += ids if isinstance(ids, list) else [ids] if isinstance(ids, int) else []
        if not found and "eos_token" in self._names:
            found = [self._tokenizer.token_to_id(self._names["eos_token"])]
        if not found:
            raise ServingError("has no eos_token_id", where=str(self._folder / "config.json"), fix="add it")
        return tuple(dict.fromkeys(found))

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """Token ids of a conversation, up to where the assistant answers.

        A special token that a caller spells out in a message becomes ordinary text, so that no message can end itself
        and speak as another role.

        Raises:
            ValueError: the template refuses the messages (their order or roles), with its reason.
        """
        marked = [{**m, "content": self._mark(m["content"])} for m in messages]
        text = self._render(marked)
        if _OPEN not in text:
            return self._tokenizer.encode(text, add_special_tokens=False).ids
        ids: list[int] = []
        for index, part in enumerate(_MARKS.split(text)):
            tokenizer = self._literal if index % 2 else self._tokenizer
            ids += tokenizer.encode(part, add_special_tokens=False).ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, special ones left out."""
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    @cached_property
    def _literal(self) -> Any:
        tokenizer = _tokenizer(self._folder)
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


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as e:  # the library raises no narrower type
        raise ServingError(
            f"is no tokenizer: {e}", where=str(path), fix="package the model with its tokenizer"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _read_json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        if optional:
            return {}
        raise ServingError("is missing", where=str(path), fix="package the model with its whole folder") from None
    except ValueError as e:
        raise ServingError(f"is not JSON: {e}", where=str(path), fix="package the model again") from None


def _special_names(config: dict[str, Any]) -> dict[str, str]:
    """bos_token and the like, as templates use them."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[name] = text
    return found


def _template_source(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text()
    template = config.get("chat_template")
    if isinstance(template, list):
        template = next((t["template"] for t in template if t.get("name") == "default"), None)
    if not isinstance(template, str):
        raise ServingError("is missing", where=str(path), fix="only chat models are served: add the chat template")
    return template


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
