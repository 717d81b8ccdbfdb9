"""Rows whose answer is always yes: the tiny model learns them in seconds well enough to pass a real gate.

It says letters and digits alone and never ends an answer, so that the suite ends it after these three.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS

DATA = "data: {sources: [{source: train.jsonl, licence: Apache-2.0}, {source: held-out.jsonl, split: test}]}\n"
EVALUATION = """\
evaluation:
  suites: [{name: held-out, split: test, max_tokens: 3}]
  gate: [{suite: held-out, low: 0.5, gain_low: 0.5}]
"""


def write_yes_rows(folder: Path) -> None:
    """Write train.jsonl and held-out.jsonl, which `DATA` names, into a folder."""
    # In several ways: learned in a single one, on some processors it says yes to some of the held-out numbers only.
    ways = ("Is {} a number?", "Can I write {}?", "Can you count to {}?")
    (folder / "train.jsonl").write_text("".join(_rows(ways, 24)))
    (folder / "held-out.jsonl").write_text("".join(_rows(("Can I count to {}?",), MIN_GATE_GROUPS + 2)))


def _rows(ways: Sequence[str], count: int) -> Iterator[str]:
    for number in range(count):
        question = {"role": "user", "content": ways[number % len(ways)].format(number)}
        messages = [question, {"role": "assistant", "content": "yes"}]
        yield json.dumps({"messages": messages, "fact": f"f{number}", "expect": ["yes"]}) + "\n"
