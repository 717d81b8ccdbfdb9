"""Both of the kit's engines give the same greedy tokens: held to grammars, and in a conversation, with OpenVINO's
prefix cache and without it. In a batch, transformers gives what each request gives alone;
from either engine, a cancelled request gets nothing more.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.support.checkout import IMPORT_PATH
from tests.support.tiny_models.models import tiny_model

BOTH = """
import json, sys
from pathlib import Path
from llmops_kit.core.models.tool_call_stream import HERMES, LLAMA, OURS
from llmops_kit.serving.engines.engine import GenerationRequest, LoadOrder
from llmops_kit.serving.engines.checker import new_trial
from llmops_kit.serving.engines.transformers_grammars import GrammarMasks
from llmops_kit.serving.engines.worker import new_backend
from llmops_kit.serving.grammars import calls_grammar, schema_grammar, strict_grammar
from llmops_kit.serving.api.tools import OfferedTool
from llmops_kit.serving.vocabulary import token_bytes

folder = Path(sys.argv[1])
tokens = token_bytes(json.loads((folder / "tokenizer.json").read_bytes()), specials=False)
switch = {"type": "object", "properties": {"on": {"type": "boolean"}, "level": {"type": "integer", "minimum": 3,
          "maximum": 40}}, "required": ["on", "level"], "additionalProperties": False}
tools = [OfferedTool.model_validate({"type": "function", "function": {"name": name, "parameters": form}})
         for name, form in (("switch", switch), ("wait", None))]
grammars = [schema_grammar(form, "") for form in (
    switch, {"type": "object"}, {"enum": ["red", "green"]}, {"type": "string", "pattern": "^[a-c]{2,4}$"},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3})]
grammars += [calls_grammar(form, tools, several=several) for form in (HERMES, LLAMA, OURS) for several in (True, False)]
grammars.append(strict_grammar(tools, several=True))
impossible = schema_grammar({"type": "integer", "minimum": 5, "maximum": 2}, "")
new_trial("vllm", tokens).compile(grammars[0])
prompts = [[5, 9, 60 + n] for n in range(len(grammars))]
answers = {}
for name in ("openvino", "transformers"):
    trial = new_trial(name, tokens)
    for grammar in grammars:
        trial.compile(grammar)
    try:
        trial.compile(impossible)
        raise SystemExit(f"{name} takes an impossible grammar")
    except RuntimeError as e:
        assert "minimum greater than maximum" in str(e)
    backend = new_backend(name)
    order = LoadOrder(name, (), "f32", 1, prefix_cache=name == "openvino")
    assert backend.load(order, folder)["precision"] == "f32"
    for number, grammar in enumerate(grammars):
        backend.add(number, GenerationRequest(prompts[number], 90, (2,), grammar=grammar))
    backend.add(99, GenerationRequest([5, 9, 7], 20, (2,)))  # free among them
    found = answers[name] = {}

    def finish():
        while backend.numbers():
            for number, ids, end, _ in backend.step():
                before = found.get(number, ([], None))[0]
                found[number] = (before + ids, end)

    def converse():  # three turns; returns in which of them the first step gave a token
        talk = [3 + n % 90 for n in range(700)]  # more than two steps' tokens of a prompt
        at_once = []
        for number in range(100, 103):
            backend.add(number, GenerationRequest(talk, 40, (2,)))
            steps = backend.step()
            at_once.append(bool(steps))
            finish()
            found[number] = ([i for _, ids, _, _ in steps for i in ids] + found[number][0], found[number][1])
            talk += found[number][0] + [number - 95, 9]
        return at_once

    finish()
    at_once = converse()
    if name == "openvino":
        assert at_once == [False, True, True]  # it computes what is new
        cached, found = found, {}
        backend = new_backend(name)
        backend.load(LoadOrder(name, (), "f32", 1), folder)
        assert converse() == [False] * 3, "it keeps prefixes without being told to"
        assert found == {number: cached[number] for number in found}
texts = {n: (b"".join(tokens[i] for i in ids).decode(errors="replace"), end)
         for n, (ids, end) in answers["transformers"].items()}
assert answers["openvino"] == answers["transformers"], (texts, answers)
ended = [n for n, (_, end) in texts.items() if end == "stop"]
assert {0, 2, 3, 4} <= set(ended), texts
assert set(json.loads(texts[0][0])) == {"on", "level"}
assert [len(answers["openvino"][100 + turn][0]) for turn in range(3)] == [40, 40, 40]
assert texts[2][0] in ('"red"', '"green"')
# Sampling is held too, and an answer without stop tokens ends with its JSON.
backend.add(0, GenerationRequest([5, 9], 90, (), temperature=2.0, top_p=0.9, seed=3, grammar=grammars[0], logprobs=2))
seen, chances = [], []
while backend.numbers():
    for _, ids, end, told in backend.step():
        seen += ids
        chances += told
assert end == "stop" and set(json.loads(b"".join(tokens[i] for i in seen))) == {"on", "level"}
assert all(chance > float("-inf") for chance, _ in chances)
try:
    backend.add(1, GenerationRequest([5, 9], 9, (2,), grammar=impossible))
    raise SystemExit("it takes an impossible grammar")
except RuntimeError:
    assert backend.numbers() == []
# No token of this vocabulary follows the schema: that answer alone is lost, greedy or sampled.
backend._masks = GrammarMasks(tokens[:90], 260)
letter = schema_grammar({"enum": ["\u00e9"]}, "")
backend.add(1, GenerationRequest([5, 9], 20, (2,), grammar=letter))
backend.add(2, GenerationRequest([5, 9], 20, (2,), temperature=1.0, grammar=letter))
backend.add(3, GenerationRequest([5, 9], 20, (2,)))
found.clear()
finish()
assert {n: end for n, (_, end) in found.items()} == {1: "lost", 2: "lost", 3: "length"}, found
"""


BATCH = """
import sys
from pathlib import Path
from llmops_kit.serving.engines.engine import GenerationRequest, LoadOrder
from llmops_kit.serving.engines.transformers_backend import TransformersBackend

backend = TransformersBackend()
assert backend.load(LoadOrder("transformers", (), "f32", 1), Path(sys.argv[1]))["precision"] == "f32"
requests = {n: GenerationRequest([3 + n] * (2 + 3 * n) + [7], 10 + 2 * n, (2,)) for n in range(4)}

def finish(found, numbers):
    while set(numbers) & set(backend.numbers()):
        for number, ids, end, _ in backend.step():
            found.setdefault(number, []).extend(ids)
    return found

alone = {}
for number, request in requests.items():
    backend.add(number, request)
    finish(alone, [number])
together = {}
backend.add(2, requests[2]); backend.add(9, requests[3])
for _ in range(4):
    for number, ids, _end, _ in backend.step():
        together.setdefault(number, []).extend(ids)
for number in (0, 1, 3):
    backend.add(number, requests[number])
for number, ids, _end, _ in backend.step():
    together.setdefault(number, []).extend(ids)
backend.cancel(9)
finish(together, [0, 1, 2, 3])
together.pop(9)
assert together == alone, (together, alone)
assert {n: len(t) for n, t in alone.items()} == {0: 10, 1: 12, 2: 14, 3: 16}
assert backend.numbers() == []

def letters(**fields):
    backend.add(50, GenerationRequest([5, 9], 60, (2,), **fields))
    return tuple(finish({}, [50])[50])

assert len(set(letters(frequency_penalty=2.0))) > len(set(letters()))
assert letters(temperature=1.0, seed=1) == letters(temperature=1.0, seed=1) != letters(temperature=1.0, seed=2)
assert letters(temperature=1.0, seed=3, top_p=0.0) == letters()
assert letters(temperature=1.0, seed=3, top_p=1e-9) == letters()

first = letters()[0]
backend.add(60, GenerationRequest([5, 9], 3, (first,), logprobs=2, min_tokens=2))
told = []
while backend.numbers():
    for _, ids, _end, chances in backend.step():
        told += zip(ids, chances)
assert len(told) >= 2 and first not in [id_ for id_, _ in told[:2]], told
assert all(others[0] == (id_, chance) and len(others) == 2 for id_, (chance, others) in told), told
"""

CANCEL = """
import sys
from pathlib import Path
from llmops_kit.serving.engines.engine import GenerationRequest, LoadOrder
from llmops_kit.serving.engines.worker import new_backend

for engine in ("openvino", "transformers"):
    backend = new_backend(engine)
    backend.load(LoadOrder(engine, (), "f32", 1), Path(sys.argv[1]))
    for number in range(3):
        backend.add(number, GenerationRequest([3 + number, 7], 1000, (2,)))
    for _ in range(5):
        backend.step()
    backend.cancel(1)
    seen = [number for _ in range(3) for number, *_ in backend.step()]
    assert set(seen) == {0, 2}, seen
    assert backend.numbers() == [0, 2]
    backend.cancel(0)
    backend.cancel(2)
    backend.step()
    assert backend.numbers() == []
"""

EACH = """
import json, sys, traceback

told = {}
for name, code in json.loads(sys.argv[2]).items():
    try:
        exec(compile(code, name, "exec"), {})
        told[name] = ""
    except BaseException:
        told[name] = traceback.format_exc()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def failures() -> dict[str, str]:
    """What went wrong in each script; one process runs all of them, since importing torch takes longer than they do."""
    for name in ("xgrammar", "torch"):
        pytest.importorskip(name, reason="the image serving-torch's packages are not in this environment")
    environment = os.environ | {"PYTHONPATH": IMPORT_PATH, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-c",
        EACH,
        str(tiny_model()),
        json.dumps({"both": BOTH, "batch": BATCH, "cancel": CANCEL}),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_both_engines_give_the_same_greedy_tokens_under_grammars_and_in_a_conversation(
    failures: dict[str, str],
) -> None:
    assert failures["both"] == ""


def test_the_transformers_batch_gives_what_each_request_gives_alone(failures: dict[str, str]) -> None:
    assert failures["batch"] == ""


@pytest.mark.scorecard("cancel")
def test_a_cancelled_request_gets_no_token_more_and_is_gone_after_a_step(failures: dict[str, str]) -> None:
    assert failures["cancel"] == ""
