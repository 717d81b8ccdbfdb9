"""Templates of ids and parameters, and paths in answers."""

import re
from collections.abc import Mapping
from typing import Any

Template = str
"""Text with placeholders `{property}`, `{id}`, `{account}`, `{region}` or `{partition}`."""


def fill(template: Template, values: Mapping[str, Any]) -> str:
    """Fills in a template.

    Raises:
        KeyError: a value is missing.
    """
    return re.sub(r"\{(\w+)\}", lambda m: str(values[m[1]]), template)


def fill_known(template: Template, values: Mapping[str, Any]) -> str:
    """Fills in a template; returns an empty text if a value is missing."""
    try:
        return fill(template, values)
    except KeyError:
        return ""


def filled(identity: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters with their templates filled in, also inside lists."""
    return {
        name: [fill(item, values) if isinstance(item, str) else item for item in template]
        if isinstance(template, list)
        else fill(template, values)
        for name, template in identity.items()
    }


def parse_id(template: Template, text: str) -> dict[str, str]:
    """Returns the properties in an id; empty if it doesn't match."""
    pattern = re.sub(r"\\\{(\w+)\\\}", lambda m: f"(?P<{m[1]}>.+)", re.escape(template))
    found = re.fullmatch(pattern, text)
    return dict(found.groupdict()) if found else {}


def picked(answer: Any, path: str) -> Any:
    """Returns the result of a JMESPath expression."""
    import jmespath

    return answer if path == "@" else jmespath.search(path, answer)


def shape_at(shape: Any, path: str) -> Any:
    """Returns botocore's shape at a plain path (`a.b[0].c`) of a response; None if there is none."""
    for word in re.findall(r"\w+", re.sub(r"\[[^]]*\]", " ", path)) if path != "@" else ():
        if shape is None or shape.type_name != "structure" or word not in shape.members:
            return None
        shape = shape.members[word]
        while shape.type_name == "list":
            shape = shape.member
    return shape
