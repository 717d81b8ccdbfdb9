"""Patterns of AWS's models mean to the twin what they mean to Java, and none is left unjudged."""

from typing import Any

import pytest

from llmops_twins.aws.wire.patterns import compiled
from llmops_twins.aws.wire.reading import model_of

SERVICES = (
    *("sagemaker", "sagemaker-runtime", "iam", "sts", "kms", "ecr", "logs", "cloudwatch", "scheduler", "budgets"),
    *("application-autoscaling", "secretsmanager", "sns", "sqs", "ssm", "service-quotas", "resourcegroupstaggingapi"),
)


@pytest.mark.parametrize("service", SERVICES)
def test_every_pattern_can_be_read(service: str) -> None:
    names: Any = model_of(service).shape_names
    shapes = [model_of(service).shape_for(name) for name in names]
    for pattern in {s.metadata["pattern"] for s in shapes if s.type_name == "string" and "pattern" in s.metadata}:
        compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "fit", "unfit"),
    [
        (r"[\p{L}\p{Z}]*", ["grün", "кит ы", "木"], ["a1", "a\nb"]),
        (r"[\w+=,.@-]+", ["a-b@c"], ["grün", "a b"]),  # \w is of ASCII
        (r"\p{Alnum}+", ["a1"], ["é"]),
        (r"[\p{Print}&&[^|:/]]+", ["a b"], ["a|b", "é"]),
        (r"[\p{L}||\p{N}]+", ["a|1"], ["a&1"]),
        (r"[+--]", ["+", ",", "-"], ["."]),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", ["a\t🦙"], ["\n", "\0"]),
        (r"([\p{N}_.:\/=+\-@]*)${1,256}", ["1/2"], ["1,2", "1\n"]),
        (r"^(?![^:]*/action/|(?i).*<script>.*)[^:]+$", ["chat 1"], ["a:b", "x/action/y", "<SCRIPT>"]),
        (r"[\x{60}\\\[\]-]+", ["`\\[]-"], ["x"]),
        (r".*", ["a\tb"], ["a\nb", "a\rb", "a\u2028b"]),
    ],
)
def test_a_pattern_means_what_it_means_to_java(pattern: str, fit: list[str], unfit: list[str]) -> None:
    assert [text for text in [*fit, *unfit] if compiled(pattern).fullmatch(text)] == fit


def test_a_pattern_that_can_not_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"the pattern \(a of AWS's model can't be read"):
        compiled("(a")
