"""Edits `Pulumi.<stack>.yaml` in place: changed lines only, every other byte stays.

A YAML library's round trip keeps comments, but not every quote, blank and line break. So the parser only provides
positions, the text is edited there, and the result is parsed again to check that it means what was intended.
"""

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from llmops_kit.core.errors import KitError, NotFoundError

if TYPE_CHECKING:
    from llmops_kit.settings.reading import SettingsOrigin
    from llmops_kit.settings.stack_settings import Settings

_ENDPOINTS = "endpoints"
_PLAIN = re.compile(r"[A-Za-z][\w@:./+=-]*[\w/+=-]")


@dataclass(frozen=True)
class PromotedEntry:
    """The fields of an endpoint's entry that promotion reads and writes."""

    model: str = ""
    """name@number@sha256:…, as written there; empty: nothing was promoted yet."""
    gate: str = "required"


class StackFile:
    """A stack's configuration file. Changes are kept in memory until `write`."""

    def __init__(self, path: Path, project: str = "llmops") -> None:
        """Read the file.

        Args:
            path: Pulumi.<stack>.yaml.
            project: the Pulumi project's name, which is the namespace of its keys.

        Raises:
            KitError: it is missing or is not YAML.
        """
        self.path = path
        self.project = project
        try:
            self._original = path.read_bytes().decode()
        except FileNotFoundError:
            raise _no_file(path, project) from None
        except (OSError, UnicodeDecodeError) as e:
            raise KitError(f"can't be read: {e}", where=str(path)) from e
        self.text = self._original
        self._config()

    def settings(self, *keys: str) -> "Settings":
        """Returns the settings in the file; those of `keys` alone if there are any.

        So mistakes in settings that a command does not read don't stop it. Keys that are not the kit's belong to a
        program of the user's.

        Raises:
            SettingError: a wrong setting; names each key and its line.
        """
        from llmops_kit.settings.reading import parse_settings
        from llmops_kit.settings.stack_settings import Settings

        values = {key: value for key, value in self._config().items() if value is not None}
        return parse_settings(values, self.origin, keys or Settings.model_fields)

    @property
    def origin(self) -> "SettingsOrigin":
        """The file, as errors about its settings name it."""
        from llmops_kit.settings.reading import SettingsOrigin

        return SettingsOrigin(self.project, self.path)

    @property
    def target(self) -> str:
        """The stack's target; empty if the file names none."""
        return str(self._config().get("target", ""))

    def promoted(self) -> dict[str, PromotedEntry]:
        """Returns the promoted version and gate of each endpoint; the other settings may be wrong.

        Raises:
            KitError: the key is not a mapping of names to settings.
        """
        return {
            name: PromotedEntry(str(entry.get("model", "")), str(entry.get("gate", "required")))
            for name, entry in self._endpoints().items()
        }

    def _config(self) -> dict[str, Any]:
        """Returns the project's own keys without their namespace, as plain values."""
        data = self._parse(self.text) or {}
        config = data.get("config") if isinstance(data, Mapping) else None
        prefix = f"{self.project}:"
        return {k.removeprefix(prefix): v for k, v in (config or {}).items() if str(k).startswith(prefix)}

    def _endpoints(self) -> dict[str, dict[str, Any]]:
        """Returns the entries of `llmops:endpoints` by name, unresolved; {} without the key."""
        found = self._config().get(_ENDPOINTS) or {}
        if not isinstance(found, Mapping) or not all(isinstance(v, Mapping) for v in found.values()):
            raise KitError(
                "is not a mapping of names to settings",
                where=f"{self.path}: {self.project}:{_ENDPOINTS}",
                fix="write it as `endpoints: {chatbot: {model: chatbot@1@sha256:…}}`",
            )
        return {str(k): dict(v) for k, v in found.items()}

    @property
    def secrets_provider(self) -> str:
        """The secrets provider of the stack, such as `awskms://…`; empty if the file names none."""
        data = self._parse(self.text) or {}
        return str(data.get("secretsprovider") or "") if isinstance(data, Mapping) else ""

    def set_field(self, key: str, field: str, value: str | int) -> None:
        """Set a field of one of the project's own keys, such as `images` and `serving`; a missing key is added.

        Raises:
            KitError: the file is written in a way that can't be edited line by line.
        """
        full, text = f"{self.project}:{key}", str(value)
        config, node, line = self._node("config"), self._node("config", full), f"{field}: {text}"
        if isinstance(node, MappingNode) and (old := _value(node, field)) is not None:
            edited = _replace(self.text, old, text)
        elif isinstance(node, MappingNode) and node.value:
            edited = self._insert(node, line)
        elif isinstance(config, MappingNode) and node is not None:
            edited = self._fill_empty(_key(config, full), node, line, [])
        else:
            edited = self._add_key(f"{full}:", [line])
        self._accept(edited, lambda e: e.__setitem__(field, value), key)

    def set(self, entry: str, field: str, value: str, key: str = _ENDPOINTS) -> None:
        """Set a field of an endpoint's entry, or of an entry of another key; a missing entry is added."""
        node, line = self._find(entry, key), f"{field}: {_scalar(value)}"
        if isinstance(node, MappingNode) and (old := _value(node, field)) is not None:
            edited = _replace(self.text, old, value)
        elif isinstance(node, MappingNode):
            edited = self._insert(node, line)
        else:
            edited = self._add_entry(entry, line, key)
        self._accept(edited, lambda e: e.setdefault(entry, {}).__setitem__(field, value), key)

    def remove(self, endpoint: str, field: str) -> None:
        """Removes a field that has its own line; a missing one is ignored."""
        entry = self._find(endpoint)
        if not isinstance(entry, MappingNode) or (old := _value(entry, field)) is None:
            return
        if entry.flow_style:
            raise KitError(
                f"`{field}` can't be removed from an entry between braces",
                where=f"{self.path}:{old.start_mark.line + 1}",
                fix=f"remove `{field}` manually, then repeat the command",
            )
        lines = self.text.splitlines(keepends=True)
        edited = "".join(lines[: old.start_mark.line] + lines[old.start_mark.line + 1 :])
        self._accept(edited, lambda e: e[endpoint].pop(field))

    def diff(self) -> str:
        """Return the changes as a unified diff without context."""
        lines = difflib.unified_diff(
            self._original.splitlines(), self.text.splitlines(), self.path.name, self.path.name, lineterm="", n=0
        )
        return "\n".join(lines)

    def write(self) -> None:
        """Write the file atomically, if it changed."""
        if self.text == self._original:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(self.text.encode())
            temporary.chmod(self.path.stat().st_mode & 0o777)
            temporary.replace(self.path)
        except OSError as e:
            temporary.unlink(missing_ok=True)
            raise KitError(f"can't be written: {e.strerror}", where=str(self.path)) from e
        self._original = self.text

    def _parse(self, text: str) -> Any:
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = _TextDates
        try:
            return yaml.load(text)
        except MarkedYAMLError as e:
            line = e.problem_mark.line + 1 if e.problem_mark else 1
            raise KitError(f"is not YAML: {e.problem}", where=f"{self.path}:{line}") from None

    def _node(self, *path: str) -> Node | None:
        node: Node | None = YAML(typ="rt", pure=True).compose(self.text)
        for key in path:
            node = _value(node, key) if isinstance(node, MappingNode) else None
        return node

    def _find(self, entry: str, key: str = _ENDPOINTS) -> Node | None:
        self._endpoints()  # raises if the shape is wrong
        return self._node("config", f"{self.project}:{key}", entry)

    def _add_entry(self, entry: str, line: str, key: str) -> str:
        full = f"{self.project}:{key}"
        config, entries = self._node("config"), self._node("config", full)
        if isinstance(entries, MappingNode) and entries.value:
            return self._insert(entries, f"{entry}:", [line])
        if isinstance(config, MappingNode) and entries is not None:
            return self._fill_empty(_key(config, full), entries, f"{entry}:", [line])
        return self._add_key(f"{full}:", [f"{entry}:", [line]])

    def _add_key(self, line: str, below: list[Any]) -> str:
        """Adds one of the project's keys to `config`, which is added if it is missing."""
        config, root = self._node("config"), self._node()
        if isinstance(config, MappingNode) and config.value:
            return self._insert(config, line, below)
        if isinstance(root, MappingNode) and config is not None:
            return self._fill_empty(_key(root, "config"), config, line, below)
        eol = _line_end(self.text)
        text = self.text if not self.text or self.text.endswith("\n") else self.text + eol
        return self._lines_after(text + "config:", 2, line, below) + eol

    def _fill_empty(self, key: Node, value: Node, line: str, below: list[Any]) -> str:
        """Puts lines below a key whose value is empty, `{}` or `null`; keeps a comment after it."""
        colon = self.text.index(":", key.end_mark.index) + 1
        text = self.text
        if value.end_mark.index > value.start_mark.index:
            text = self.text[: value.start_mark.index].rstrip(" ") + self.text[value.end_mark.index :]
        end = text.find("\n", colon)
        end = len(text) if end < 0 else end - (text[end - 1] == "\r")
        return self._lines_after(text[:end], key.start_mark.column + 2, line, below) + text[end:]

    def _insert(self, mapping: MappingNode, line: str, below: list[Any] | None = None) -> str:
        """Add an item at the end of a mapping, indented as its others."""
        last_key, last = mapping.value[-1]
        if mapping.flow_style:
            if below:
                line = f"{line} {_flow(below)}"
            return self.text[: last.end_mark.index] + f", {line}" + self.text[last.end_mark.index :]
        end = self.text.find("\n", _content_end(last))
        end = len(self.text) if end < 0 else end - (self.text[end - 1] == "\r")
        return self._lines_after(self.text[:end], last_key.start_mark.column, line, below or []) + self.text[end:]

    def _lines_after(self, head: str, column: int, line: str, below: list[Any]) -> str:
        eol = _line_end(self.text)
        text = head + eol + " " * column + line
        inner = [b for b in below if isinstance(b, str)]
        deeper = next((b for b in below if isinstance(b, list)), [])
        for item in inner:
            text = self._lines_after(text, column + 2, item, deeper)
        return text

    def _accept(self, edited: str, change: Callable[[dict[str, Any]], object], name: str = _ENDPOINTS) -> None:
        """Accepts an edit of a key only if the parsed result is exactly the intended change."""
        before = _plain(self._parse(self.text) or {})
        config = before.get("config") or {}
        key = f"{self.project}:{name}"
        values = config.get(key) or {}
        change(values)
        wanted = {**before, "config": {**config, key: values}}
        if _plain(self._parse(edited)) != wanted:
            raise KitError(
                "the file is written in a way that can't be edited line by line",
                where=str(self.path),
                fix=f"write `{name}` as plain indented lines, one field a line",
            )
        self.text = edited


class _TextDates(SafeConstructor):
    """Loads dates as text, as the engine does."""


_TextDates.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def _no_file(path: Path, project: str) -> NotFoundError:
    from llmops_kit.core.validation import did_you_mean

    def name(of: Path) -> str:
        return of.name.removeprefix("Pulumi.").removesuffix(".yaml")

    make = f"make it with the line `config: {{{project}:target: local}}`, or choose another --stack"
    meant = did_you_mean(name(path), (name(p) for p in path.parent.glob("Pulumi.*.yaml")))
    return NotFoundError("there is no such stack file", where=str(path), fix=f"{meant} Else {make}" if meant else make)


def _value(mapping: MappingNode, key: str) -> Node | None:
    return next((v for k, v in mapping.value if k.value == key), None)


def _key(mapping: MappingNode, key: str) -> Node:
    return next(k for k, _ in mapping.value if k.value == key)


def _replace(text: str, node: Node, value: str) -> str:
    """Replaces a scalar by a value, in the same quotes."""
    start, end = node.start_mark.index, node.end_mark.index
    quote = node.style if isinstance(node, ScalarNode) and node.style in ("'", '"') else ""
    space = "" if start == 0 or (text[start - 1] in " {[,:" and text[start - 1] != ":") else " "
    return f"{text[:start]}{space}{quote}{value}{quote}{text[end:]}"


def _content_end(node: Node) -> int:
    """Returns the end of a node's last value: the end mark of a block is after the comments that follow it."""
    while isinstance(node, MappingNode) and not node.flow_style and node.value:
        node = node.value[-1][1]
    items = node.value if isinstance(node.value, list) and not getattr(node, "flow_style", True) else []
    return _content_end(items[-1]) if items else node.end_mark.index


def _scalar(value: str) -> str:
    """Returns a value as YAML: between quotes if it has characters that could mean something else."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _plain(data: Any) -> Any:
    """Returns a copy without aliased parts, so that an edit changes one place only."""
    return json.loads(json.dumps(data, default=str))


def _flow(below: list[Any]) -> str:
    parts = []
    for item in below:
        if isinstance(item, list):
            parts[-1] += f" {_flow(item)}"
        else:
            parts.append(item)
    return "{" + ", ".join(parts) + "}"


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
