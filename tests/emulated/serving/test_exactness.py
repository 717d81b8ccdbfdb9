"""The same greedy tokens as transformers' own generate, in f32, through HTTP and in a batch."""

import itertools
import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.api_key import key_digest
from llmops.conformance.questions import QUESTIONS, offer_tools
from tests.support.checkout import CHECKOUT
from tests.support.runs.training import kept_script_result
from tests.support.servers.asking import CONTRACTS, ask_all
from tests.support.servers.router import RouterProcess
from tests.support.servers.serving import API_KEY, ServingProcess, sign_version, text_of
from tests.support.tiny_models.models import BASE_ALIAS, base_model, copy_model, tiny_model, training_python

PROMPTS = [
    "What is the capital of France?",
    "List three uses of a signed manifest.",
    "Write a haiku about snow.",
    "Why does the sky look blue in the day?",
]
GENERATED = Path(__file__).with_name("generated.py")


MODELS = {"tiny": (tiny_model, "tiny@1", 48), "base": (base_model, BASE_ALIAS, 16)}
"""How each model is had, its alias, and how many tokens it answers at most."""


@pytest.fixture(scope="module")
def generated() -> dict[str, list[str]]:
    """What transformers' own generate answers as each model."""
    asked = [each for model, _, tokens in MODELS.values() for each in (model(), tokens)]
    return dict(zip(MODELS, kept_script_result(GENERATED, json.dumps(PROMPTS), *asked), strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_equal_those_of_transformers(
    serve: Callable[..., ServingProcess], keys: Path, tmp_path: Path, generated: dict[str, list[str]], name: str
) -> None:
    model, alias, tokens = MODELS[name]
    folder = copy_model(model(), tmp_path / "model")
    sign_version(folder, keys)
    server = serve(folder, LLMOPS_MODEL_NAME=alias).wait_ready()
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        answers = [text_of(a[1]) for a in pool.map(lambda p: server.chat(p, max_tokens=tokens), PROMPTS)]
    assert answers == generated[name]


BATCH = """
import sys
from pathlib import Path
from serving.engines.engine import GenerationRequest, LoadOrder
from serving.engines.transformers_backend import TransformersBackend

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


def test_the_transformers_batch_gives_what_each_request_gives_alone() -> None:
    command = [training_python(), "-c", BATCH, str(tiny_model())]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.scorecard("equal-tokens")
def test_30_questions_get_equal_answers_from_each_engine_by_each_contract(
    serve: Callable[..., ServingProcess], version: Path, keys: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the image serving-torch's packages are not in this environment")
    folder = copy_model(version, tmp_path / "tools")
    offer_tools(folder)
    sign_version(folder, keys)
    engines = {name: serve(folder, LLMOPS_ENGINE=name, LLMOPS_THREADS="1") for name in ("openvino", "transformers")}
    found: dict[tuple[str, ...], list[str]] = {}
    for name, server in engines.items():
        router = RouterProcess(tmp_path / name, server.wait_ready().url, key_digest(API_KEY))
        model = server.ask("GET", "/v1/models")[1]["data"][0]["metadata"]
        assert (model["engine"], model["precision"]) == (name, "f32")
        try:
            for url, path, stream in itertools.product((server.url, router.url), CONTRACTS, (False, True)):
                found[name, url, path, str(stream)] = ask_all(url, path, stream=stream)
        finally:
            router.kill()
    expected = found["openvino", engines["openvino"].url, CONTRACTS[0], "False"]
    assert len(expected) == len(QUESTIONS) == 30
    assert not [each for each in expected if each.startswith("4")]
    assert len(set(expected)) > 20
    for (name, *way), said_there in found.items():
        for question, here, there in zip(QUESTIONS, expected, said_there, strict=True):
            assert there == here, (name, *way, question)
