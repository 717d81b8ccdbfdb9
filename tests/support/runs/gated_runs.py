"""A completed run whose gate is on one suite, ready to be collected."""

import json
from pathlib import Path
from typing import Any

from llmops_kit.cli.interfaces.platform import Run
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import plan_run
from llmops_kit.core.documents.run import RunState
from llmops_kit.core.layout import SPEC, TrainingFolders
from tests.support.tiny_models.versions import write_output


def gated_run(
    platform: LocalPlatform, recipe: Path, suite: dict[str, Any], gate: dict[str, Any], *, wrong: str = ""
) -> Run:
    """A run of a recipe whose section `evaluation` becomes this one; its answers are right, or all `wrong`."""
    text = recipe.read_text().partition("evaluation:")[0]
    recipe.write_text(text + "evaluation: " + json.dumps({"suites": [suite], "gate": [gate]}) + "\n")
    spec = plan_run(platform, recipe, lambda _: None).spec
    place = Path(platform.outputs.training.runs) / spec.id
    write_output(TrainingFolders(place / "root").model, spec, platform.store(), right=not wrong, wrong=wrong)
    state = RunState.new(id=spec.id, status="completed")
    state.write(place / "state.json")
    spec.write(place / SPEC)
    (place / "log.txt").write_text("")
    return Run(spec, state)
