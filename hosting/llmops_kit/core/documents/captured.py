"""CapturedRequest: a request to an endpoint, its answer and the user's feedback; a line of *.capture.jsonl."""

from typing import Any, ClassVar

from pydantic import AwareDatetime, Field, JsonValue

from llmops_kit.core.document import Document, Part
from llmops_kit.core.names import Sha256


class CapturedChat(Part):
    """Request to an endpoint, in the field names of OpenAI's chat completions."""

    messages: list[dict[str, JsonValue]] = Field(min_length=1)
    tools: list[dict[str, JsonValue]] = Field(default=[])


class Feedback(Part):
    """A user's feedback on an answer."""

    score: float | None = Field(
        default=None, ge=-1, le=1, description="-1: bad, 1: good. An answer with 0 or less is not trained."
    )
    label: str = Field(
        default="",
        description="A word that the application chooses, such as `wrong-tone`. The kit can't tell praise from blame: "
        "with a label and no score, the answer is not trained.",
    )
    correction: str = Field(default="", description="The right answer, which is trained instead.")

    @property
    def rejection(self) -> str:
        """Reason not to train the answer; empty if it may be trained, or if a correction replaces it."""
        if self.correction.strip():
            return ""
        if self.score is not None:
            return "feedback: score of 0 or less, no correction" if self.score <= 0 else ""
        return "feedback: label without score, no correction" if self.label else ""


class CapturedRequest(Document):
    """A chat request that an endpoint answered, with its answer: a line of the captured requests."""

    SCHEMA: ClassVar[str] = "capture/1"

    endpoint: str = Field(default="", description="The endpoint's name in its stack.")
    request: CapturedChat
    answer: dict[str, JsonValue] = Field(description="The assistant's message: `role`, `content`, `tool_calls`.")
    version: Sha256 = Field(description="Identity of the model version that answered.")
    time: AwareDatetime = Field(description="Time of the request, UTC.")
    feedback: Feedback = Feedback()

    def to_row(self) -> dict[str, Any]:
        """Returns the conversation as a row of data: the request as `prompt`, and as `completion` the correction if
        there is one, else the answer; `tools`; and as metadata `version`, `time`, `endpoint`, `score`, `label`, and the
        `answer` that was corrected. Earlier answers are not learned from this row: each has its own line, with its
        own feedback.
        """
        feedback = self.feedback
        corrected = bool(feedback.correction.strip())
        last: dict[str, Any] = {"role": "assistant", "content": feedback.correction}
        row: dict[str, Any] = {
            "prompt": self.request.messages,
            "completion": [last if corrected else self.answer],
            "version": self.version,
            "time": self.time.isoformat(),
        }
        more = {
            "tools": self.request.tools,
            "endpoint": self.endpoint,
            "score": feedback.score,
            "label": feedback.label,
            "answer": self.answer if corrected else None,
        }
        return row | {key: value for key, value in more.items() if value not in (None, "", [])}
