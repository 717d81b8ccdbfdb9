"""The step that changes an alarm by hand, also when it was killed before."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from llmops_kit.cli.rehearsal.cloud import ByHand
from llmops_kit.cli.rehearsal.lifecycle import day_two
from llmops_kit.core.errors import KitError


@dataclass
class Stage:
    """One alarm, and what `llmops up --refresh` brings it to."""

    threshold: float
    declared: float | None = 1.0
    cloud: Any = field(init=False)

    def __post_init__(self) -> None:
        self.cloud = SimpleNamespace(quality_alarm=lambda _outputs, _name: self._alarm())

    def _alarm(self) -> ByHand:
        return ByHand(
            "quality", self.threshold, lambda value: setattr(self, "threshold", value), lambda: self.threshold
        )

    def outputs(self) -> None:
        """None are looked at."""

    def llmops(self, *words: str, **_: Any) -> None:
        if words[0] == "up" and self.declared is not None:
            self.threshold = self.declared


@pytest.mark.parametrize("found", [1.0, day_two._BY_HAND])
def test_it_is_put_right(found: float) -> None:
    stage: Any = Stage(found)
    assert day_two.drift(stage).facts == {"found": True}
    assert stage.threshold == 1.0


@pytest.mark.parametrize(("found", "declared"), [(1.0, None), (1.0, 0.5), (day_two._BY_HAND, None)])
def test_what_stays_wrong_is_an_error(found: float, declared: float | None) -> None:
    stage: Any = Stage(found, declared)
    with pytest.raises(KitError, match="the alarm's threshold is"):
        day_two.drift(stage)
