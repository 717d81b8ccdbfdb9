"""The same greedy tokens as transformers' own generate, in f32, through HTTP."""

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmops_kit.core.network.api_key import key_digest
from tests.support.runs.training import kept_script_result
from tests.support.servers.asking import CONTRACTS, ask_all
from tests.support.servers.router import RouterProcess
from tests.support.servers.serving import API_KEY, ServingProcess, sign_version, text_of
from tests.support.tiny_models.models import BASE_ALIAS, base_model, copy_model, tiny_model
from tools.conformance.questions import QUESTIONS, offer_tools

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


@pytest.mark.scorecard("equal-tokens")
def test_30_questions_get_equal_answers_from_each_engine_by_each_contract(
    serve: Callable[..., ServingProcess], version: Path, keys: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the image serving-torch's packages are not in this environment")
    folder = copy_model(version, tmp_path / "tools")
    offer_tools(folder)
    sign_version(folder, keys)
    engines = {name: serve(folder, LLMOPS_ENGINE=name, LLMOPS_THREADS="1") for name in ("openvino", "transformers")}
    router = RouterProcess(tmp_path / "router", engines["openvino"].wait_ready().url, key_digest(API_KEY))
    found: dict[tuple[str, ...], list[str]] = {}
    try:
        for name, server in engines.items():
            model = server.wait_ready().ask("GET", "/v1/models")[1]["data"][0]["metadata"]
            assert (model["engine"], model["precision"]) == (name, "f32")
            # The router knows no engine: what it passes on of one, it passes on of all.
            urls = (server.url, router.url) if name == "openvino" else (server.url,)
            for url, path, stream in itertools.product(urls, CONTRACTS, (False, True)):
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
