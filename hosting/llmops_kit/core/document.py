"""Documents: YAML or JSON files with `schema: name/N`, validated, with errors that name file, line and field."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmops_kit.core.errors import DocumentError
from llmops_kit.core.object_keys import plain, shown
from llmops_kit.core.validation import did_you_mean, known_keys, message_of

_LONGEST_WITH_LINES = 200_000  # characters, which ruamel reads in some seconds


class Part(BaseModel):
    """Part of a document: frozen; rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Document(Part):
    """A whole document. Subclasses set `SCHEMA`, and `MIGRATIONS` from version n to n+1."""

    SCHEMA: ClassVar[str]
    MIGRATIONS: ClassVar[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    schema_: str = Field(alias="schema", description="The document's kind and version, name/N.")

    @classmethod
    def new(cls, **fields: Any) -> Self:
        """Creates a document of the current version from its fields."""
        return cls.model_validate({"schema": cls.SCHEMA, **fields})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a YAML or JSON file.

        Raises:
            DocumentError: naming file, line and field.
        """
        try:
            content = path.read_bytes()
        except OSError as e:
            raise DocumentError(f"can't be read: {e.strerror}", where=str(path)) from e
        return cls.parse(content, where=str(path))

    @classmethod
    def parse(cls, content: str | bytes, where: str) -> Self:
        """Read from text, or from the bytes of a file; `where` names it in errors.

        Raises:
            DocumentError: naming place, line and field.
        """
        text = content if isinstance(content, str) else _decode(content, where)
        try:
            data = parse_json(text, where)
        except ValueError:
            data = _parse_yaml(text, where)
        if not isinstance(data, dict):
            raise DocumentError(f"is not a mapping but {type(data).__name__}", where=where)
        data = cls.migrate(cast(dict[str, Any], data), where)
        try:
            return cls.model_validate(data)
        except ValidationError as e:
            raise _explain(e, cls, text, where) from None

    @classmethod
    def migrate(cls, data: dict[str, Any], where: str) -> dict[str, Any]:
        """Returns the fields of a document of any released version, migrated to the newest one and not validated.

        Raises:
            DocumentError: another kind of document, or a newer version.
        """
        name, _, newest = cls.SCHEMA.partition("/")
        found, _, version = str(data.get("schema", "")).partition("/")
        if found != name or not version.isdigit():
            raise DocumentError(
                f"expected `schema: {cls.SCHEMA}`, found {data.get('schema')!r}",
                where=f"{where}:1: schema",
                fix=f"write `schema: {cls.SCHEMA}` at the top, or give the path of a {name} document",
            )
        if int(version) > int(newest):
            raise DocumentError(
                f"is {name}/{version}; this kit reads up to {cls.SCHEMA}",
                where=f"{where}: schema",
                fix="install the version of the kit that wrote it, or a newer one",
            )
        for step in range(int(version), int(newest)):
            data = cls.MIGRATIONS[step](data) | {"schema": f"{name}/{step + 1}"}
        return data

    def to_json(self) -> str:
        """Returns canonical JSON: sorted keys, two spaces, a final newline; equal documents give equal bytes."""
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Write canonical JSON atomically (temporary file, rename)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(self.to_json())
        temporary.replace(path)


def parse_json(text: str | bytes, where: str) -> object:
    """Read JSON, rejecting duplicate keys: the json module takes the last one, other readers the first.

    Raises:
        DocumentError: an object has a key twice, or the text is nested too deeply.
        ValueError: the text is not JSON.
    """

    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    try:
        return _JSON.decode(text)
    except _TwiceError as e:
        fix = "remove one of the two, or fetch it again"
        raise DocumentError(f"names {shown(e.args[0])} twice", where=where, fix=fix) from None
    except RecursionError:
        raise _too_deep(where) from None


class _TwiceError(Exception):
    """Error for a key that an object has twice."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for at, key in enumerate(keys) if key in keys[:at]))
    return found


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        raise DocumentError("is not text in UTF-8", where=f"{where}:{line}") from None


def _parse_yaml(text: str, where: str) -> object:
    from ruamel.yaml import YAML  # 0.1 s, and most documents are JSON
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 1
        raise DocumentError(f"is not YAML: {e.problem}", where=f"{where}:{line}") from None
    except (YAMLError, ValueError) as e:  # control characters, or an invalid date or number
        raise DocumentError(f"is not YAML: {str(e).splitlines()[0]}", where=where) from None
    except RecursionError:
        raise _too_deep(where) from None


def _too_deep(where: str) -> DocumentError:
    return DocumentError("is nested too deeply", where=where)


def _explain(error: ValidationError, model: type[Document], text: str, where: str) -> DocumentError:
    """Turn pydantic's findings into one error with the line of each field."""
    lines = _lines(text)
    found = []
    for item in error.errors():
        path = item["loc"]
        message = message_of(item)
        if item["type"] == "extra_forbidden":
            meant = did_you_mean(str(path[-1]), known_keys(model, path))
            message += f": {meant}" if meant else ""
        found.append((line_of(lines, path), ".".join(plain(str(p)) for p in path), message))
    first, *others = sorted(found)
    more = "".join(f"\n  {where}:{line}: {field}: {message}" for line, field, message in others)
    return DocumentError(first[2] + more, where=f"{where}:{first[0]}: {first[1]}")


def _lines(text: str) -> object:
    """Returns the document with each key's line; None if it is too long for that, or JSON that YAML can't read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(text) > _LONGEST_WITH_LINES:
        return None
    with suppress(YAMLError, ValueError, RecursionError):
        return YAML(typ="rt", pure=True).load(text)
    return None


def line_of(node: object, path: tuple[int | str, ...]) -> int:
    """Returns the 1-based line of the deepest part of `path` that exists in a ruamel round-trip tree."""
    line = 1
    for key in path:
        position = getattr(node, "lc", None)
        if position is None:
            break
        try:
            line = (position.key(key) if isinstance(node, Mapping) else position.item(key))[0] + 1
            node = cast(Any, node)[key]
        except (KeyError, IndexError, TypeError):
            break
    return line
