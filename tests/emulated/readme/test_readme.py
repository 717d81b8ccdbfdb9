"""The README's bash blocks, in their order, in a fresh copy of the checkout, as a newcomer types them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.demo import Demo, changed_recipe, deployed_demo

README = CHECKOUT / "README.md"
MARK = "### block"
SHORT = {
    "test: 160": "test: 60",
    "max_steps: 300": "max_steps: 2",
    "warmup_steps: 10": "warmup_steps: 1",
    "gain_low: 0.05, copy_gain_low: 0.01": "low: 0.001",
}
"""Of recipes/translation.yaml."""


@pytest.fixture(scope="module")
def printed(demo: Demo) -> list[str]:
    """What each block printed. The first `make demo` was the fixture's: this one is a second."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    script = "".join(f"echo '{MARK}'\n{block}\n" for block in blocks)
    return demo.run(f"set -eo pipefail\n{script}").split(f"{MARK}\n")[1:]


@pytest.fixture(scope="module")
def translation(demo: Demo) -> Iterator[Demo]:
    """The demo of another recipe, in the same checkout, with two steps of training: test_translation.py trains it."""
    assert "make demo RECIPE=translation" in README.read_text()
    with (
        changed_recipe(demo.folder, "translation", SHORT),
        deployed_demo(demo.folder, "translation", variant="-short") as made,
    ):
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


def test_two_demos_live_beside_each_other(demo: Demo, printed: list[str], translation: Demo) -> None:
    assert printed  # the README's commands come first: they expect one demo
    for step in ("gate     passed", "translation@1 is live at", "make demo-down RECIPE=translation"):
        assert step in translation.output
    first, second = endpoint(demo, "demo"), endpoint(translation, "demo-translation")
    assert (first["name"], second["name"]) == ("chatbot", "translation")
    assert (first["state"], second["state"]) == ("ready", "ready")


def test_the_checkout_stays_clean(demo: Demo, printed: list[str], translation: Demo) -> None:
    assert printed
    assert translation.output
    assert demo.run("git status --porcelain") == ""
