"""The served model as callers see it: its names, and its entry in /v1/models."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmops_kit.core.documents.model import Golden, ModelManifest
from llmops_kit.serving.engines.engine import EngineInfo
from llmops_kit.serving.errors import ApiError

_EXAMPLES, _LONGEST_EXAMPLE = 3, 120


@dataclass(frozen=True)
class ModelCard:
    """The served model as callers see it, whatever engine runs it."""

    name: str
    """Alias, such as chatbot@3; used in answers, in the log and in /v1/models."""
    sha256: str
    """The manifest's."""
    manifest: ModelManifest
    engine: EngineInfo
    context_length: int
    """Maximum tokens of a prompt with its answer, or of a text to embed."""
    takes_tools: bool

    def check_name(self, asked: str) -> None:
        """Accepts the model's name and its alias, each with or without the SHA-256.

        A client that sends only the name keeps working when the endpoint changes to another version.

        Raises:
            ApiError: 404, it is another model's.
        """
        names = self.name, self.name.partition("@")[0]
        if asked.removesuffix(f"@sha256:{self.sha256}") not in names:
            what = f"the model is {self.name!r}, not {asked[:100]!r}"
            raise ApiError(404, what, code="model_not_found", param="model")

    def listed(self, name: str | None = None) -> dict[str, Any]:
        """Returns the body of /v1/models, or of /v1/models/{name}.

        Raises:
            ApiError: 404, the name is another model's.
        """
        if name is None:
            return {"object": "list", "data": [self._described()]}
        self.check_name(name)
        return self._described()

    def _described(self) -> dict[str, Any]:
        page = self.manifest.page
        return {
            "id": self.name,
            "object": "model",
            "created": int(datetime.fromisoformat(self.manifest.created).timestamp()),
            "owned_by": "llmops",
            "metadata": {
                "sha256": self.sha256,
                "engine": self.engine.engine,
                "engine_version": self.engine.version,
                "precision": self.engine.precision,
                "context_length": self.context_length,
                "licence": self.manifest.licence,
                "examples": page.questions or _examples(self.manifest.golden),
                "tools": page.tools,
                "takes_tools": self.takes_tools,
            },
        }


def _examples(golden: Sequence[Golden]) -> list[str]:
    """Returns a few short questions that this version answered correctly, for the chat page to suggest."""
    asked = [g.messages[0].content for g in golden if [m.role for m in g.messages] == ["user"] and g.expect]
    return [question for question in asked if len(question) <= _LONGEST_EXAMPLE][:_EXAMPLES]
