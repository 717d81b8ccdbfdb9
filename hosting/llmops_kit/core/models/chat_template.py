"""Chat templates: from messages to token ids, the same in training and in serving.

A model's template runs in jinja2's sandbox, and `tokenizers` makes the ids. They equal those of transformers'
apply_chat_template, whose import takes a second, except where a message spells out a special token: it becomes ordinary
text, so that no message can end itself and speak as another role.
"""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from functools import cached_property
from itertools import zip_longest
from typing import Any

# Unicode noncharacters: they mark where a message spells out a special token, and never occur in text themselves.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")
_ESCAPED_MARK = "\\ufdd0"
_OVERHEAD = 100_000  # characters that a template may add to its input


class ChatTemplate:
    """A model's chat template and tokenizer."""

    def __init__(self, source: str, special_tokens: Mapping[str, str], tokenizer: Any) -> None:
        """Compile the template without running it.

        Args:
            source: the template, jinja2.
            special_tokens: `bos_token` and the like, by the names that templates use.
            tokenizer: a `tokenizers.Tokenizer` that neither pads nor truncates.

        Raises:
            ValueError: the source is not a template.
        """
        self._template = _compile(source)
        self.takes_tools = _reads_tools(self._template.environment, source)
        """Whether it shows the model the tools that it may call."""
        self._special_tokens = dict(special_tokens)
        self._tokenizer = tokenizer
        added = {id_: t.content for id_, t in tokenizer.get_added_tokens_decoder().items() if t.special}
        self._special_ids = frozenset(added)
        self._spellings: dict[str, list[int]] = {}  # at most one for each special token
        longest_first = sorted(added.values(), key=len, reverse=True)
        any_special = "|".join(map(re.escape, longest_first)) or r"(?!)"
        self._specials = re.compile(any_special)
        # A mark whose partner the template cut off splits the text too: its two sides never join into a token.
        self._spelled_out = re.compile(f"{_OPEN}({any_special}){_CLOSE}|{_MARKS.pattern}")

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool,
    ) -> str:
        """Return a conversation as text for `ids`, in which special tokens that messages spell out are marked.

        Tool calls' arguments are objects; a template that takes only text gets them as JSON.

        Raises:
            ValueError: the template refuses the messages (their order or roles), fails on them, or writes much more
                than it was given.
        """
        context = {
            **self._special_tokens,
            "messages": self._marked(messages),
            # None, not undefined: templates ask `tools is not none`.
            "tools": self._marked(tools) if tools else None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._run(context)
        except TypeError as e:
            if not any(message.get("tool_calls") for message in messages):
                raise ValueError(f"the model's chat template fails: {e}") from None
        try:
            return self._run({**context, "messages": [_with_text_arguments(m) for m in context["messages"]]})
        except TypeError as e:
            raise ValueError(f"the model's chat template fails: {e}") from None

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text that `render` made, or of a part of one.

        Raises:
            ValueError: a special token that a message spells out can't be written with other tokens.
        """
        parts = self._spelled_out.split(text)  # text, then alternately a special token (None: a mark alone) and text
        # As a batch, which tokenizers encodes without the interpreter lock; a single text would block every stream.
        texts = parts[::2]
        encodings = iter(self._tokenizer.encode_batch_fast([text for text in texts if text], add_special_tokens=False))
        ids: list[int] = []
        for text, token in zip_longest(texts, parts[1::2]):
            ids += next(encodings).ids if text else ()
            ids += self._spelled(token) if token else ()
        return ids

    def text_ids(self, text: str) -> list[int]:
        """Return the token ids of a text outside of a conversation; special tokens that it spells out are ordinary
        text.

        Raises:
            ValueError: one of them can't be written with other tokens.
        """
        return self.ids(self._marked(text))

    @cached_property
    def _literal(self) -> Any:
        tokenizer = deepcopy(self._tokenizer)  # of a large vocabulary: a tenth of a second, and few messages need it
        tokenizer.encode_special_tokens = True
        return tokenizer

    def _spelled(self, token: str) -> list[int]:
        """Returns the ids of a special token's text, spelled with other tokens; computes them once, because a message
        may spell it out tens of thousands of times.
        """
        if token not in self._spellings:
            self._spellings[token] = self._spell(token)
        return self._spellings[token]

    def _spell(self, token: str) -> list[int]:
        for pieces in ([token], list(token)):
            encodings = self._literal.encode_batch_fast(pieces, add_special_tokens=False)
            ids = [id_ for encoding in encodings for id_ in encoding.ids]
            if self._special_ids.isdisjoint(ids):
                return ids
        raise ValueError(f"the model's tokenizer can't write {token!r} as ordinary text")

    def _marked(self, value: Any) -> Any:
        """Returns a copy of messages or tools in which every special token's text is marked."""
        if isinstance(value, str):
            return self._specials.sub(rf"{_OPEN}\g<0>{_CLOSE}", _MARKS.sub("\ufffd", value))
        if isinstance(value, Mapping):
            return {self._marked(key): self._marked(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._marked(item) for item in value]
        return value

    def _run(self, context: dict[str, Any]) -> str:
        from jinja2 import TemplateError

        given = json.dumps([context["messages"], context["tools"]], ensure_ascii=False)
        limit = 2 * len(given) + _OVERHEAD
        parts: list[str] = []
        try:
            for part in self._template.generate(context):
                parts.append(part)
                limit -= len(part)
                if limit < 0:
                    raise ValueError("the model's chat template writes more than it was given")
        except TemplateError as e:
            raise ValueError(f"the model's chat template refuses the messages: {e}") from None
        except (AttributeError, LookupError, ArithmeticError, RuntimeError) as e:
            raise ValueError(f"the model's chat template fails: {type(e).__name__}: {e}") from None
        text = "".join(parts)
        if _OPEN in given and _ESCAPED_MARK in text:
            raise ValueError("the model's chat template escapes characters of a message that spells out special tokens")
        return text


def without_marks(text: str) -> str:
    """Return the text of `ChatTemplate.render` for people: without its marks."""
    return _MARKS.sub("", text)


def _with_text_arguments(message: Mapping[str, Any]) -> Mapping[str, Any]:
    calls = [
        {
            **call,
            "function": {
                **call["function"],
                "arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False),
            },
        }
        for call in message.get("tool_calls", ())
    ]
    return {**message, "tool_calls": calls} if calls else message


def reads_tools(source: str) -> bool:
    """Returns whether a chat template shows the model the tools that it may call.

    Raises:
        ValueError: the source is not a template.
    """
    return _reads_tools(_compile(source).environment, source)


def _reads_tools(environment: Any, source: str) -> bool:
    from jinja2.meta import find_undeclared_variables

    return "tools" in find_undeclared_variables(environment.parse(source))


def _compile(source: str) -> Any:
    """Compiles a template in jinja2's sandbox, with the functions that transformers gives chat templates."""
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
        raise ValueError(f"is not a template: {e}") from None
