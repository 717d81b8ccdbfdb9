"""What a stage keeps of the commands that it runs."""

import os
import sys

import pytest

from tests.unit.cli.rehearsal.conftest import Rehearsed


@pytest.mark.parametrize(("verb", "kept"), [("status --env", False), ("models show", False), ("invoke", True)])
def test_what_lets_others_in_is_kept_in_no_log(rehearsed: Rehearsed, verb: str, kept: bool) -> None:
    stage, world = rehearsed.stage, rehearsed.world
    said: list[str] = []
    stage.say = said.append
    world.project.mkdir(parents=True)
    world.environs["admin"] = dict(os.environ)
    code = "import sys; print('key-123'); print('looking', file=sys.stderr)"
    printed, _ = stage._run([sys.executable, "-c", code], ("llmops", *verb.split(), "chat"), "dev", "admin", 0)
    assert printed == "key-123\n"
    log = (stage.logs / "world.txt").read_text()
    assert ("key-123" in log, "key-123" in said) == (kept, kept)
    assert "looking" in log
    assert f"llmops {verb} chat" in log
