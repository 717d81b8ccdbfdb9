"""python -m tools.azure_schemas.management [FILE]: compiles the request bodies of Azure's other resource providers.

For each source (sources.py) the program runs itself in an environment with that client. Members that only the response
has become read-only members of the body: ARM ignores them.

With `--source NAME` it compiles that source in its own environment, to stdout.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.azure_schemas import msrest, typespec
from tools.azure_schemas.sources import NEEDED, SOURCES, Source

FILE = Path(__file__).parents[2] / "twins" / "llmops_twins" / "azure" / "arm" / "management.json"
ABOUT = "Compiled by tools.azure_schemas.management from models in azure-mgmt-*, Copyright (c) Microsoft Corporation, MIT License."  # fmt: skip # noqa: E501


def compiled(name: str, source: Source) -> dict[str, Any]:
    """Returns {"types": type -> its source and body, "$defs"} of a source whose client can be imported."""
    models = importlib.import_module(source.module)
    first = getattr(models, next(iter(source.types.values()))[0])
    made = (msrest if hasattr(first, "_attribute_map") else typespec).Compiler(models, f"{name}.")
    types: dict[str, Any] = {}
    for type_, (body, *answer) in source.types.items():
        reference = made.reference(getattr(models, body))
        if answer:
            shown = made.reference(getattr(models, answer[0]))
            _pass_over(made.defs, reference, shown)
        types[type_] = {"source": name, **reference}
    return {"types": types, "$defs": made.defs}


def _pass_over(defs: dict[str, Any], body: dict[str, Any], answer: dict[str, Any]) -> None:
    """Marks members as read-only that only the response has, in a body and in its `properties`."""
    given, shown = (defs[each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in (body, answer))
    known = {*given["properties"], *given.get("readOnly", ())}
    only = {*shown["properties"], *shown.get("readOnly", ())} - known
    if only:
        given["readOnly"] = sorted({*given.get("readOnly", ()), *only})
    inner = [each["properties"].get("properties") for each in (given, shown)]
    if all(inner) and inner[0] != inner[1]:
        _pass_over(defs, inner[0], inner[1])


def _apart(name: str, source: Source) -> dict[str, Any]:
    """Compiles a source by this program in an environment with its client."""
    pins = [part for pin in (source.package, *NEEDED) for part in ("--with", pin)]
    from llmops_kit.local_runtime.environments import find_uv  # missing in a source's environment

    command = [find_uv(), "run", "--no-project", *pins, "python", "-m", __spec__.name, "--source", name]
    ran = subprocess.run(command, cwd=FILE.parents[4], check=True, stdout=subprocess.PIPE, timeout=600)
    return json.loads(ran.stdout)


def _used(types: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """Returns the definitions that the types' bodies refer to."""
    found: dict[str, Any] = {}
    open_: list[Any] = list(types.values())
    while open_:
        node = open_.pop()
        if isinstance(node, list):
            open_ += node
        elif isinstance(node, dict):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name and name not in found:
                found[name] = defs[name]
                open_.append(defs[name])
            open_ += node.values()
    return dict(sorted(found.items()))


def text(types: dict[str, Any], defs: dict[str, Any]) -> str:
    """Returns the file's text: a line for each source, type and definition."""
    parts = {
        "sources": {name: source.described() for name, source in SOURCES.items()},
        "types": dict(sorted(types.items())),
        "$defs": _used(types, defs),
    }
    lines = [
        f'"{name}": {{\n'
        + ",\n".join(f"{json.dumps(key)}: {json.dumps(each, sort_keys=True)}" for key, each in part.items())
        + "\n}"
        for name, part in parts.items()
    ]
    head = f'"$schema": "https://json-schema.org/draft/2020-12/schema",\n"$comment": {json.dumps(ABOUT)},\n'
    return "{\n" + head + ",\n".join(lines) + "\n}\n"


def main(file: Path) -> None:
    """Writes the schemas."""
    types: dict[str, Any] = {}
    defs: dict[str, Any] = {}
    for name, source in SOURCES.items():
        found = _apart(name, source)
        types |= found["types"]
        defs |= found["$defs"]
    file.write_text(text(types, defs), encoding="utf-8")
    print(f"{file}: {len(types)} types")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--source"]:
        print(json.dumps(compiled(sys.argv[2], SOURCES[sys.argv[2]])))
    else:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
