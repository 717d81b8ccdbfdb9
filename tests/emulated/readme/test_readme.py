"""The README's bash blocks, in their order, in a fresh copy of the checkout, as a newcomer types them."""

import re

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.demo import Demo

README = CHECKOUT / "README.md"
MARK = "### block"


@pytest.fixture(scope="module")
def printed(demo: Demo) -> list[str]:
    """What each block printed. The first `make demo` was the fixture's: this one is a second."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)
    script = "".join(f"echo '{MARK}'\n{block}\n" for block in blocks)
    return demo.run(f"set -eo pipefail\n{script}").split(f"{MARK}\n")[1:]


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


def test_the_checkout_stays_clean(demo: Demo, printed: list[str]) -> None:
    assert printed
    assert demo.run("git status --porcelain") == ""
