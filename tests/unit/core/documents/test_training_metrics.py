"""metrics.jsonl of a trained version."""

import pytest

from llmops_kit.core.documents.training_metrics import StepMetrics, metrics_text, parse_metrics
from llmops_kit.core.errors import DocumentError

STEP = StepMetrics.of(step=1, time=1.5, seconds=0.5, loss=2.0, grad_norm=float("inf"), validation_loss=float("nan"))


def test_a_step_is_a_line_that_holds_what_was_measured_and_finite() -> None:
    assert STEP.values() == {"loss": 2.0}
    text = metrics_text([STEP])
    assert text == '{"step":1,"time":1.5,"seconds":0.5,"loss":2.0}\n'
    assert parse_metrics(text.encode(), "m") == [STEP]


@pytest.mark.parametrize(
    ("line", "field", "what"),
    [
        (b'{"step": 1, "time": 2, "seconds": 1}', "", "step 1 comes after step 1"),
        (b'{"step": 2, "time": 2}', ": seconds", "is missing"),
        (b'{"step": 2, "time": 2, "seconds": 1, "loss": NaN}', ": loss", "finite number"),
        (b'{"step": 2, "time": 2, "seconds": 1, "lr": 1}', ": lr", "unknown key"),
        (b"no step", "", "Invalid JSON"),
        (b"\xff", "", "Invalid JSON"),
    ],
)
def test_another_line_is_refused_with_its_number(line: bytes, field: str, what: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_metrics(metrics_text([STEP]).encode() + line, "m")
    assert caught.value.where == f"m:2{field}"
    assert what in caught.value.what
