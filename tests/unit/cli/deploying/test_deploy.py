"""After an update that a cloud rolled back: which version is rejected, and what is said."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.deploying import deploy
from llmops_kit.cli.interfaces.platform import Live
from llmops_kit.cli.stacks.stack_file import PromotedEntry
from llmops_kit.core.errors import KitError

OLD, NEW = "1" * 64, "2" * 64
NO_CAPACITY = "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error."


class CloudStack:
    """A stack whose endpoint went back to OLD while NEW was deployed."""

    target = "aws"
    has_own_engine = True

    def __init__(self, live: Live, fault: str, rejection: str = "") -> None:
        self.rejected: list[tuple[str, str, str]] = []
        self.since: list[float] = []
        self.file = SimpleNamespace(promoted=lambda: {"chat": PromotedEntry(f"chatbot@2@sha256:{NEW}")})
        self._live, self._fault, self._rejection = live, fault, rejection

    def outputs(self) -> Any:
        return SimpleNamespace(endpoints={"chat": SimpleNamespace(on=True)})

    def open(self, outputs: Any) -> Any:
        """The platform of the stack."""
        store = SimpleNamespace(
            rejection=lambda _sha256: self._rejection,
            reject=lambda ref, why, endpoint: self.rejected.append((ref.alias, why, endpoint)),
        )
        return SimpleNamespace(
            outputs=outputs, live=lambda _name: self._live, store=lambda: store, version_fault=self._version_fault
        )

    def _version_fault(self, _endpoint: str, since: float) -> str:
        self.since.append(since)
        return self._fault


def up(stack: CloudStack, monkeypatch: pytest.MonkeyPatch) -> KitError:
    """Returns what `up` ends with, where the engine's own update fails."""

    def fails(*_arguments: Any) -> None:
        raise KitError("pulumi up failed")

    monkeypatch.setattr(deploy.registry, "open_platform", stack.open)
    for name, replacement in (
        ("preflight", lambda *_: None),
        ("free", lambda *_: None),
        ("bring_images", lambda *_: None),
        ("_run", fails),
    ):
        monkeypatch.setattr(deploy, name, replacement)
    with pytest.raises(KitError) as ended:
        deploy.up(stack, lambda _line: None)  # type: ignore[arg-type]
    return ended.value


def live(undone: str = "", *, ago: float = 0.0, serves: str = OLD) -> Live:
    return Live(ready=True, models={serves: 1.0}, undone=undone, changed=time.time() - ago)


def test_lack_of_capacity_rejects_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = CloudStack(live(NO_CAPACITY), fault="")
    ended = up(stack, monkeypatch)
    assert NO_CAPACITY in str(ended)
    assert "chatbot@2 is not marked rejected" in str(ended)
    assert "rerun `llmops up`" in ended.fix
    assert stack.rejected == []


@pytest.mark.parametrize("undone", ["", "One or more alarms"])
def test_a_version_that_is_to_blame_is_rejected_whatever_the_endpoint_says(
    undone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.time()
    stack = CloudStack(live(undone), fault="alarm chat-5xx went off")
    ended = up(stack, monkeypatch)
    assert "alarm chat-5xx went off; chatbot@2 is marked rejected" in str(ended)
    [(alias, why, endpoint)] = stack.rejected
    assert (alias, endpoint) == ("chatbot@2", "chat")
    assert "alarm chat-5xx went off" in why
    assert began - 120 < stack.since[0] < began, "an alarm that went off before is another update's"


def test_a_version_that_the_program_rejected_is_not_rejected_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = CloudStack(live(), fault="alarm chat-5xx went off", rejection="SageMaker rolled the update back")
    assert "chatbot@2 is marked rejected" in str(up(stack, monkeypatch))
    assert stack.rejected == []


@pytest.mark.parametrize(
    "endpoint",
    [{"ago": 3600.0}, {"serves": NEW}],
    ids=["an earlier rollback", "a setting of the version that serves"],
)
def test_another_rollback_is_not_this_updates(endpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stack = CloudStack(live("an alarm", **endpoint), fault="alarm chat-5xx went off")
    assert "pulumi up failed" in str(up(stack, monkeypatch))
    assert stack.rejected == []
