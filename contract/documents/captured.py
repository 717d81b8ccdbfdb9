"""CapturedRequest: a request to an endpoint, its answer and what its user thought of it; a line of *.capture.jsonl."""

from typing import Any, ClassVar

from pydantic import AwareDatetime, Field, JsonValue

from contract.documents.document import Document, Part
from contract.names import Sha256


class CapturedChat(Part):
    """Request to an endpoint, in the field names of OpenAI's chat completions."""

    messages: list[dict[str, JsonValue]] = Field(min_length=1)
    tools: list[dict[str, JsonValue]] = Field(default=[])


class Feedback(Part):
    """A user's feedback on an answer."""

    score: float | None = Field(default=None, ge=-1, le=1, description="-1: bad, 1: good.")
    label: str = Field(default="", description="A word of the application's own, such as `wrong-tone`.")
    correction: str = Field(default="", description="The answer that should have been given.")


class CapturedRequest(Document):
    """A chat request that an endpoint answered, with its answer: a line of the captured requests."""

    SCHEMA: ClassVar[str] = "capture/1"

    endpoint: str = Field(default="", description="The endpoint's name in its stack.")
    request: CapturedChat
    answer: dict[str, JsonValue] = Field(description="The assistant's message: `role`, `content`, `tool_calls`.")
    version: Sha256 = Field(description="Identity of the model version that answered.")
    time: AwareDatetime = Field(description="When the request came, UTC.")
    feedback: Feedback = Feedback()

    def to_row(self) -> dict[str, Any]:
        """Returns the conversation as a row of data: `messages` that end with the correction if there is one, else with
        the answer; `tools`; and as metadata `version`, `time`, `endpoint`, `score`, `label`, and the `answer` that was
        corrected.
        """
        feedback = self.feedback
        last: dict[str, Any] = {"role": "assistant", "content": feedback.correction}
        row: dict[str, Any] = {
            "messages": [*self.request.messages, last if feedback.correction else self.answer],
            "version": self.version,
            "time": self.time.isoformat(),
        }
        more = {
            "tools": self.request.tools,
            "endpoint": self.endpoint,
            "score": feedback.score,
            "label": feedback.label,
            "answer": self.answer if feedback.correction else None,
        }
        return row | {key: value for key, value in more.items() if value not in (None, "", [])}
