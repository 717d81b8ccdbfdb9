"""A prompt with tools, as it is asked by `llmops invoke`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llmops_kit.cli.rehearsal.lifecycle import first_model
from llmops_kit.core.documents.model import Golden, GoldenCall, Message
from llmops_kit.core.documents.recipe import Recipe
from tests.support.runs.training import tiny_recipe

TOOL = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


def test_its_tools_stand_in_the_recipe_that_the_command_is_given(tmp_path: Path) -> None:
    tiny_recipe().write(tmp_path / "recipe.yaml")
    asked: list[tuple[str, ...]] = []

    def answered(*words: str) -> dict[str, Any]:
        asked.append(words)
        return {"choices": [{"message": {"content": "now"}}]}

    world = SimpleNamespace(folder=tmp_path, project=tmp_path, recipe="recipe.yaml")
    stage: Any = SimpleNamespace(world=world, json=answered)
    prompt = [Message(role="user", content="What time is it?")]
    calls = Golden(messages=prompt, tools=[TOOL], calls=[GoldenCall(name="clock", arguments={})])
    assert first_model._invoked(stage, "chat", calls) == {"content": "now"}
    first_model._invoked(stage, "chat", Golden(messages=prompt))
    (verb, option, path, *rest), without = asked
    assert (verb, option, rest) == ("invoke", "--tools", ["chat", "What time is it?"])
    assert Recipe.load(Path(path)).page.tools == [TOOL]
    assert without == ("invoke", "chat", "What time is it?")
