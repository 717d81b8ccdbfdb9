"""The twins' command as a program: steps while it works, its answer, and its error."""

import json
import re
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.twin_command import TwinCommand
from llmops_kit.core.errors import KitError
from tests.support.checkout import PACKAGES

PROGRAM = """\
import json, os, sys
verb, home = sys.argv[2], sys.argv[4]
with open(os.path.join(home, "calls"), "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if verb == "up":
    print("starting the twin", file=sys.stderr)
if verb == "down":
    print("stopping\\nerror: twin.log: it hangs\\n  fix: end it", file=sys.stderr)
    sys.exit(1)
print(json.dumps({"LLMOPS_AWS_TWIN_KEY": "secret", "AWS_PROFILE": None}))
"""


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TwinCommand:
    """One whose command is PROGRAM, which writes its calls down."""
    (tmp_path / "llmops_twins.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return TwinCommand("aws", tmp_path)


def calls(home: Path) -> list[list[str]]:
    return [json.loads(line) for line in (home / "calls").read_text().splitlines()]


def test_steps_are_told_and_options_are_handed_on(twin: TwinCommand, tmp_path: Path) -> None:
    told: list[str] = []
    twin.up(told.append, pace=0.0, region="eu-west-1")
    assert told == ["starting the twin"]
    options = ["--pace", "0.0", "--region", "eu-west-1", "--judge", "strict", "--json"]
    assert calls(tmp_path) == [["aws", "up", "--home", str(tmp_path), *options]]


def test_the_environment_is_asked_for_once_until_the_next_up(twin: TwinCommand, tmp_path: Path) -> None:
    assert twin.environment == {"LLMOPS_AWS_TWIN_KEY": "secret", "AWS_PROFILE": None}
    assert twin.key == "secret"
    twin.up()
    assert twin.key == "secret"
    assert [verb for _, verb, *_ in calls(tmp_path)] == ["env", "up", "env"]


def test_an_error_has_the_commands_words(twin: TwinCommand) -> None:
    with pytest.raises(KitError) as error:
        twin.down()
    assert str(error.value) == "twin.log: it hangs\n  fix: end it"


def test_the_kit_names_no_module_of_the_twins() -> None:
    """Not even in a text that is imported later, which no import rule sees."""
    rooms = [folder for name, folder in PACKAGES.items() if name != "llmops_twins"]
    texts = {path: path.read_text() for room in rooms for path in room.rglob("*.py")}
    assert [path for path, text in texts.items() if re.search(r"\bllmops_twins\b(?!\", self\._target)", text)] == []
