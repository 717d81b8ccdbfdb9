"""What the program asks the engine about its own stack."""

from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from infra.targets.azure import resolve


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the engine answers in turn: an error's words, or URNs."""
    given: list[Any] = []

    def invoke(token: str, arguments: dict[str, str]) -> SimpleNamespace:
        assert (token, arguments) == ("pulumi:pulumi:readStackResourceOutputs", {"stackName": "organization/kit/dev"})
        answer = given.pop(0)
        if isinstance(answer, str):
            raise Exception(f"invoke of {token} failed: {answer}")
        return SimpleNamespace(value={"outputs": dict.fromkeys(answer)})

    monkeypatch.setattr(pulumi.runtime, "invoke", invoke)
    monkeypatch.setattr(pulumi, "get_organization", lambda: "organization")
    monkeypatch.setattr(resolve.time, "sleep", lambda _: None)
    return given


def test_a_state_that_is_being_written_is_read_again(answers: list[Any]) -> None:
    answers += ["failed to load checkpoint: EOF", "failed to load checkpoint: EOF", ["urn:a"]]
    assert resolve._urns_of_state("kit", "dev") == {"urn:a"}


@pytest.mark.parametrize("errors", [["no such stack"], ["failed to load checkpoint: EOF"] * 4])
def test_another_error_or_one_that_stays_ends_the_program(answers: list[Any], errors: list[str]) -> None:
    answers += errors
    with pytest.raises(Exception, match=errors[0]):
        resolve._urns_of_state("kit", "dev")
    assert not answers
