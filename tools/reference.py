"""Writes docs/reference.md from the models: `python -m tools.reference`. A test compares the file with the code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.schemas import DOCUMENTS
from llmops_kit.core.errors import EXIT_CODES
from llmops_kit.settings.stack_settings import Settings

FILE = Path(__file__).parents[1] / "docs/reference.md"

_PAGE = """# Reference: settings, recipe, exit codes, documents

<!-- Written by `python -m tools.reference`. Change the models, not this file. -->

## Settings of a stack

Keys of `config:` in `Pulumi.<stack>.yaml`, each with `llmops:` before it. `<name>` is an endpoint's name.

{settings}
## Recipe

Keys of a recipe file. `[]` marks an item of a list. The JSON schema for an editor: `llmops schema recipe`.

{recipe}
## JSON of `llmops`

Every verb takes `--json`, but for those that stream text (`chat`, `logs`), print one thing for another program
(`export sagemaker`, `images base`), or write JSON into a report (`rehearse`). Standard output is then one JSON
document. Progress goes to standard error, with the output of Pulumi.

| verb | document |
|---|---|
| `up`, `status` | `stack`, `target`, `store`, `expires`, `expired`, `endpoints` |
| `status --env` | `base_url`, `api_key`, `model` |
| `down` | `stack`, `down`, `data_removed` |
| `down --orphans` | `place`, `left`, `expired`, `busy`; with `--remove` also `removed`, `taken_down` |
| lists, such as `runs list` | a list of objects, one for each row |
| `runs stop`, `models clear`, `plan prices refresh`, `twin … down`, `reset`, `fault` | an object: what was done |

A verb that fails prints `{{"error": {{"what": …, "where": …, "fix": …}}}}` there.

## Exit codes of `llmops`

| code | meaning |
|---|---|
{codes}
## Documents

Everything that the kit stores says in `schema` what it is. An older version is migrated when it is read, a newer one is
refused. `llmops schema NAME` prints the JSON schema.

| name | schema | what it is |
|---|---|---|
{documents}"""


def main() -> None:
    """Writes the file."""
    FILE.write_text(render())


def render() -> str:
    """Returns the page as Markdown."""
    documents = "".join(
        f"| `{name}` | `{document.SCHEMA}` | {_escape(document.__doc__ or '')} |\n"
        for name, document in DOCUMENTS.items()
    )
    codes = "".join(f"| {code} | {_escape(meaning)} |\n" for code, meaning in EXIT_CODES.items())
    return _PAGE.format(settings=_table(Settings), recipe=_table(Recipe), codes=codes, documents=documents)


def _table(model: type[BaseModel]) -> str:
    lines = ["| key | type | default | description |", "|---|---|---|---|"]
    lines += [f"| `{key}` | {kind} | {default} | {text} |" for key, kind, default, text in _rows(model, "")]
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Yields (key, type, default, description) of each field, a nested model's fields below it."""
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        part, mark = _nested(field.annotation)
        if part is None:
            yield key, _kind(properties[field.alias or name]), _default(model, name), _escape(field.description or "")
            continue
        if field.description or mark:
            doc = field.description or part.__doc__ or ""
            yield key, {"": "object", "[]": "list", ".<name>": "object"}[mark], _default(model, name), _escape(doc)
        yield from _rows(part, f"{key}{mark}.")


def _nested(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Returns the model in a field's type, and the suffix of its key for a list or a map."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    for inner in get_args(annotation):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner, {list: "[]", dict: ".<name>"}.get(get_origin(annotation), "")
    return None, ""


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    if low is not None:
        return f"{kind}, at least {low}"
    return f"{kind}, more than {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else kind


def _set_fields(part: BaseModel) -> dict[str, Any]:
    return part.model_dump(exclude_defaults=True)


def _default(model: type[BaseModel], name: str) -> str:
    field: FieldInfo = model.model_fields[name]
    if name == "schema_":
        return f"`{getattr(model, 'SCHEMA', '')}`"
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=False)
    if isinstance(value, BaseModel):
        return ""
    return f"`{json.dumps(value, default=_set_fields)}`" if value != "" else "empty"


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
