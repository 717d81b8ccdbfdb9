"""What the log says of a refused request: which error it is, and which parameter it is about."""

import functools
import re

from llmops_kit.serving.api.request_bodies import StrictBody
from llmops_kit.serving.errors import ApiError
from llmops_kit.serving.front.vllm_requests import PARAMETERS

_OTHERS = {
    "chat_template", "chat_template_kwargs", "extra_body", "guided_choice", "guided_grammar", "guided_json",
    "guided_regex", "prediction", "prompt_embeds", "structured_outputs", "thinking", "web_search_options",
}  # fmt: skip
"""Parameters of OpenAI and vLLM that no route takes."""
_SEGMENT = re.compile(r"(\w+)((?:\[\d+\])*)", re.ASCII)
_HIDDEN = "?"


def log_fields(error: ApiError) -> dict[str, str]:
    """Returns the code of an error, and its parameter with a `?` for each of the caller's own names: these could be
    anything, such as a key or a prompt.
    """
    told = error.body["error"]
    fields = {"code": told["code"] or ""}
    if param := told["param"]:
        fields["param"] = ".".join(map(_shown, param.split(":")[0].split(".")))
    return {name: value for name, value in fields.items() if value}


def _shown(segment: str) -> str:
    found = _SEGMENT.fullmatch(segment)
    return segment if found and found[1] in _known() else _HIDDEN


@functools.cache
def _known() -> frozenset[str]:
    """The names of all parameters and of their fields."""
    names, kinds = {*PARAMETERS, *_OTHERS}, [StrictBody]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        names |= {field.alias or name for name, field in kind.model_fields.items()}
    return frozenset(names)
