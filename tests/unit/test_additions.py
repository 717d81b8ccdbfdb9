"""To add a setting of the engine, a metric or an engine takes the files that docs/architecture.md names, and no other.

Each test adds one to a copy of the tree, and lets the code in the copy use it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT, PORTIONS

PATCHES = Path(__file__).with_name("additions")
_COPIED = ("hosting", "serving", "training", "requirements", "docs/how-to", "tools")
USES_SETTING = """
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from llmops_kit.cli.plan.limits import limit_changes
from llmops_kit.infra.resource_names import stack_home
from llmops_kit.infra.targets.local.providers.endpoints import _spec
from llmops_kit.infra.targets.local.resources.endpoint import _properties
from llmops_kit.infra.targets.local.values import LocalEndpointValues, LocalImage
from llmops_kit.local_runtime.spec import VariantRollout
from llmops_kit.serving.bringup import load_order
from llmops_kit.serving.server_settings import ServerSettings
from llmops_kit.serving.vllm_server import command
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import ServingError
from llmops_kit.settings.resolved_local import resolve_local_stack
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved

entry = {"model": "chatbot@1@sha256:" + "a" * 64, "lookahead": 4}
for target in ("aws", "azure"):
    stack = resolved(Settings.model_validate({"target": target, "endpoints": {"chat": entry}}))
    assert stack.endpoints["chat"].variables["LLMOPS_LOOKAHEAD"] == "4", stack
here = stack_home(Path("."), "home", "dev")
stack = resolve_local_stack(Settings.model_validate({"endpoints": {"chat": entry}}), {"CUDA_VISIBLE_DEVICES": ""})
image = LocalImage("serving", "process", "process:serving@sha256:" + "0" * 64)
values = LocalEndpointValues(stack.endpoints["chat"], VariantRollout(), image, {})
props = _properties(values, here, SimpleNamespace(stated="serving"))
with mock.patch.object(Path, "read_text", lambda _: "k" * 40):
    environ = _spec(props).environ
assert environ["LLMOPS_LOOKAHEAD"] == "4", environ

def step(value):
    return {"op": "update", "urn": "urn:pulumi:d::p::llmops:Endpoint::endpoint-chat",
            "oldState": {"inputs": {**props, "lookahead": 0}}, "newState": {"inputs": {**props, "lookahead": value}}}

assert limit_changes({"steps": [step(4)]}, ["chat"]) == {"chat": ["lookahead default -> 4"]}
asked = {"LLMOPS_AUTH": "platform", "LLMOPS_PLATFORM": "sagemaker", "LLMOPS_PUBLIC_KEY": "key"}
settings = ServerSettings.from_environ(asked | {"LLMOPS_LOOKAHEAD": "4"})
assert load_order(settings, "openvino", [], None).lookahead == 4
manifest = SimpleNamespace(name="chatbot", embedding=None, serving=SimpleNamespace(temperature=0.0))
words = command(settings, manifest, Path("."), "")
assert words[words.index("--num-speculative-tokens") + 1] == "4", words
try:
    ServerSettings.from_environ(asked | {"LLMOPS_LOOKAHEAD": "9"})
except ServingError as e:
    assert e.where == "LLMOPS_LOOKAHEAD", e
else:
    raise AssertionError("9 was taken")
"""
USES_METRIC = """
from pathlib import Path
from llmops_kit.cli.runs.run_page import SCORERS
from llmops_kit.core.documents.recipe_evaluation import Suite
from llmops_kit.training.data.rows import row_of
from llmops_kit.training.evaluation.scorers import SuiteRow, can_score, score_answers

suite = Suite(name="suite", split="test", metric="brevity")
row = row_of({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "rows.jsonl:1")
assert can_score(suite, row, "rows.jsonl:1")
assert score_answers(suite, [SuiteRow(row, "", "g")], ["four"]).values == [0.25]
assert SCORERS["brevity"].graded
assert "| `brevity` |" in Path("docs/how-to/evaluation.md").read_text()
"""
USES_ENGINE = """
import os
from importlib import import_module
from pathlib import Path
from llmops_kit.clouds.aws.traits import TRAITS
from llmops_kit.core.engines.records import ENGINES
from llmops_kit.core.errors import SettingError
from llmops_kit.local_runtime.process_images import ImageSource
from llmops_kit.infra.engines import require_engine
from llmops_kit.serving.engine_choice import choose_engine
from llmops_kit.serving.engines.engine import GenerationRequest, LoadOrder
from llmops_kit.serving.engines.worker import new_backend
from llmops_kit.serving.server_settings import ServerSettings
from llmops_kit.settings.resolved_local import resolve_local_stack
from llmops_kit.settings.stack_settings import Settings
from tests.support.clouds.settings import resolved

entry = {"model": "chatbot@1@sha256:" + "a" * 64, "engine": "parrot"}
stack = resolved(Settings.model_validate({"target": "aws", "endpoints": {"chat": entry}}))
try:
    require_engine(stack.endpoints["chat"], TRAITS)
except SettingError as e:
    assert "the kit's images for clouds don't hold it" in str(e), e
else:
    raise AssertionError("a cloud took it")
here = resolve_local_stack(Settings.model_validate({"endpoints": {"chat": entry}}), {}).endpoints["chat"]
assert (here.image, here.engine) == ("serving-parrot", "parrot")
Path("requirements/serving-parrot.txt").touch()  # which tools/lock.sh writes
assert "app/llmops_kit/serving/engines/parrot_backend.py" in ImageSource.of_kit(here.image).files()
asked = {"LLMOPS_AUTH": "platform", "LLMOPS_PLATFORM": "azureml", "LLMOPS_PUBLIC_KEY": "key", "LLMOPS_ENGINE": "parrot"}
engine = choose_engine(ServerSettings.from_environ(asked).engine, ["transformers"], {}).engine
backend = new_backend(engine)
import_module(f"llmops_kit.serving.engines.{ENGINES[engine].backend.partition(':')[0]}").warm()
assert backend.load(LoadOrder(engine, (), "auto", 1), Path(".")) == {"engine": "parrot"}
backend.add(1, GenerationRequest([5, 6], max_tokens=2))
assert [*backend.step(), *backend.step()] == [(1, [5], None, []), (1, [6], "stop", [])]
"""


def named_in(row: str) -> set[str]:
    """The paths in a row of the table `Where do I`."""
    page = (CHECKOUT / "docs/architecture.md").read_text()
    (found,) = re.findall(rf"^\| \*{{0,2}}{re.escape(row)}\*{{0,2}} \| (.*) \|$", page, re.MULTILINE)
    return set(re.findall(r"`([\w/<>.-]+/[\w<>.-]+)`", found))


@pytest.mark.parametrize(
    ("row", "patch", "most", "uses"),
    [
        ("a setting of the engine", "setting.patch", 7, USES_SETTING),
        ("a metric", "metric.patch", 3, USES_METRIC),
        ("an engine", "engine.patch", 4, USES_ENGINE),
    ],
    ids=["setting", "metric", "engine"],
)
def test_an_addition_takes_few_files(tmp_path: Path, row: str, patch: str, most: int, uses: str) -> None:
    changed = re.findall(r"^diff --git a/(\S+) ", (PATCHES / patch).read_text(), re.MULTILINE)
    assert len(changed) <= most
    assert {path.replace("parrot", "<name>") for path in changed} <= named_in(row)
    for folder in _COPIED:
        shutil.copytree(CHECKOUT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "apply", PATCHES / patch], cwd=tmp_path, check=True)
    portions = [tmp_path / each.name if (tmp_path / each.name).is_dir() else each for each in PORTIONS]
    run = subprocess.run(
        [sys.executable, "-c", uses],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(map(str, [*portions, CHECKOUT]))},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_without_a_change_the_additions_are_refused(tmp_path: Path) -> None:
    for uses in (USES_SETTING, USES_METRIC, USES_ENGINE):
        run = subprocess.run([sys.executable, "-c", uses], cwd=CHECKOUT, capture_output=True, text=True)
        assert run.returncode == 1
        assert "ValidationError" in run.stderr
