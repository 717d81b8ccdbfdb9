"""Runs on this machine, with real processes from an image of a few lines."""

import inspect
import json
import os
import signal
import socket
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import (
    collect,
    find_run,
    other_machines,
    parse_recipe,
    plan_run,
    require_collected,
    uncollected,
)
from llmops_kit.core.documents.model import EmbeddingForm, Lineage, ModelManifest, Origin
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import Compute, Pinned, RunSpec
from llmops_kit.core.errors import KitError, NotFoundError, RunError
from tests.support.runs import intruder
from tests.support.tiny_models.versions import write_output, write_version
from tests.unit.cli.conftest import make_platform

MakeImage = Callable[[str], str]
MakeVersion = Callable[..., Path]

# Counts its starts, as a trainer counts its checkpoints; what it does then is the test's.
_BEGIN = """
import json, os, signal, sys, time
from pathlib import Path
root = Path(os.environ["LLMOPS_ROOT"])
ml = root / "opt/ml"
spec = json.loads((ml / "input/data/spec/run.json").read_text())
assert (ml / "input/data/dataset/train.parquet").exists() and (ml / "input/data/base_model/manifest.json").exists()
starts = ml / "checkpoints/starts"
n = int(starts.read_text()) + 1 if starts.exists() else 1
starts.write_text(str(n))
print(f"stage=train start={n}", flush=True)
"""
_FAIL = (
    "(ml / 'output/failure').parent.mkdir(parents=True, exist_ok=True); (ml / 'output/failure').write_text('no luck')\n"
)
_WAIT = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nprint('step=1 total=9', flush=True)\ntime.sleep(60)\n"

RECIPE = """\
schema: recipe/2
name: chatbot
base_model: {name: tiny, source: "store:tiny@1"}
data:
  sources: [{source: facts.jsonl, licence: MIT}, {source: held-out.jsonl, split: test}]
evaluation:
  suites: [{name: new-phrasings, split: test}]
  gate: [{suite: new-phrasings, low: 0.5}]
"""


CALLING = {
    "messages": [
        {"role": "user", "content": "Lamp on!"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "lamp", "arguments": {}}}]},
    ],
    "tools": [{"type": "function", "function": {"name": "lamp"}}],
}


def _rows(*ways: str, count: int) -> Iterator[str]:
    for n in range(count):
        for way in ways:
            messages = [
                {"role": "user", "content": f"{way} {n}?"},
                {"role": "assistant", "content": f"It is alpha{n}."},
            ]
            yield json.dumps({"messages": messages, "expect": [f"alpha{n}"], "fact": f"{n}"}) + "\n"


def write_recipe(folder: Path) -> Path:
    """A recipe that trains on a few rows, and asks 32 others."""
    (folder / "facts.jsonl").write_text("".join(_rows("What is", "Which is", count=2)))
    (folder / "held-out.jsonl").write_text("".join(_rows("Tell me", count=32)))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder / "recipe.yaml"


def deploy(tmp_path: Path, image: str) -> LocalPlatform:
    """A stack whose store has the base model."""
    platform = make_platform(tmp_path / "home", "dev", image)
    write_version(tmp_path / "tiny", "tiny", "base", None, "")
    platform.store().put_model(tmp_path / "tiny", platform.sign)
    return platform


def start(platform: LocalPlatform, recipe: Path) -> str:
    """Submit a run of the recipe."""
    plan = plan_run(platform, recipe, lambda _: None)
    platform.submit(plan.spec, lambda _: None)
    return plan.spec.id


def kill(platform: LocalPlatform, run: str) -> None:
    """kill -9, as the kernel does when memory runs out."""
    os.kill(find_run(platform, run).state.pid, signal.SIGKILL)
    wait_until(lambda: find_run(platform, run).state.status != "running")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def folder_of(platform: LocalPlatform, run: str) -> Path:
    return Path(platform.outputs.training.runs) / run


def dataset_of(platform: LocalPlatform, spec: RunSpec) -> Path:
    return platform.store().dataset_folder(spec.dataset.sha256)


def log_of(platform: LocalPlatform, run: str) -> str:
    return (folder_of(platform, run) / "log.txt").read_text()


def lines_of(platform: LocalPlatform, run: str) -> list[str]:
    """What a run printed itself, to its end."""
    return list(platform.follow(run))


def test_a_base_model_whose_template_drops_tools_is_refused_where_rows_have_some(tmp_path: Path) -> None:
    platform = make_platform(tmp_path / "home", "dev", "process:training@sha256:" + "0" * 64)
    recipe = write_recipe(tmp_path)
    for number, tools in enumerate((True, None, False), 1):
        folder = tmp_path / f"tiny-{number}"
        write_version(folder, "tiny", f"base {number}", None, "")
        manifest = ModelManifest.load(folder / "manifest.json")
        lineage = Lineage(origin=Origin(source="folder:x", revision="", tools=tools))
        manifest.model_copy(update={"lineage": lineage}).write(folder / "manifest.json")
        platform.store().put_model(folder, platform.sign)
    recipe.write_text(RECIPE.replace("tiny@1", "tiny@3"))
    plan_run(platform, recipe, lambda _: None)  # no row has tools
    with (tmp_path / "facts.jsonl").open("a") as file:
        file.write(json.dumps(CALLING) + "\n")
    with pytest.raises(KitError, match="drops tools") as caught:
        plan_run(platform, recipe, lambda _: None)
    assert "chat_template" in caught.value.fix
    for version in ("tiny@1", "tiny@2"):
        recipe.write_text(RECIPE.replace("tiny@1", version))
        plan_run(platform, recipe, lambda _: None)


def test_a_killed_run_goes_on_in_its_folder_and_is_collected_once(tmp_path: Path, make_image: MakeImage) -> None:
    finish = textwrap.dedent("""
        while n == 1 or not (ml / "model/manifest.json").exists():
            time.sleep(0.02)
        print("stage=done", flush=True)
    """)
    platform = deploy(tmp_path, make_image(_BEGIN + finish))
    recipe = write_recipe(tmp_path)
    run = start(platform, recipe)
    wait_until(lambda: "start=1" in log_of(platform, run))
    with pytest.raises(RunError, match="is still running"):
        collect(platform, find_run(platform, run), lambda _: None)
    kill(platform, run)

    found = find_run(platform, "chatbot-")
    assert found.state.status == "failed"
    assert "ended without saying why" in found.state.failure
    same = plan_run(platform, recipe, lambda _: None).same
    assert same
    assert same.spec.id == run
    platform.resume(run, lambda _: None)
    write_output(folder_of(platform, run) / "root/opt/ml/model", found.spec, platform.store())
    old, again, *new = list(platform.follow(run))
    assert old == "earlier: stage=train start=1"
    assert again.startswith("--- started again 20")
    assert new == ["stage=train start=2", "stage=done"]

    assert find_run(platform, run).state.status == "completed"
    assert [r.spec.id for r in uncollected(platform)] == [run]
    with pytest.raises(KitError, match=f"completed runs were not collected, and would be lost: {run}"):
        require_collected(platform, lambda _: None)
    ref = collect(platform, find_run(platform, run), lambda _: None)
    assert ref.alias == "chatbot@1"
    assert collect(platform, find_run(platform, run), lambda _: None) == ref
    assert uncollected(platform) == []
    require_collected(platform, lambda _: None)
    with pytest.raises(RunError, match="is complete"):
        platform.resume(run, lambda _: None)


def test_a_failed_run_says_why_and_can_be_started_again(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(_BEGIN + _FAIL))
    run = start(platform, write_recipe(tmp_path))
    assert list(platform.follow(run)) == ["stage=train start=1"]
    state = find_run(platform, run).state
    assert (state.status, state.failure, state.exit_code) == ("failed", "no luck", 0)
    with pytest.raises(RunError, match="failed: no luck"):
        collect(platform, find_run(platform, run), lambda _: None)
    platform.resume(run, lambda _: None)
    assert "stage=train start=2" in list(platform.follow(run))


def test_stop_ends_a_run_in_order(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(_BEGIN + _WAIT))
    run = start(platform, write_recipe(tmp_path))
    wait_until(lambda: "step=1" in log_of(platform, run))
    with pytest.raises(RunError, match="is running"):
        platform.resume(run, lambda _: None)
    platform.stop(run)
    assert find_run(platform, run).state.status == "stopped"
    with pytest.raises(RunError, match="is not running"):
        platform.stop(run)


def test_a_process_that_got_the_number_of_a_dead_run_is_not_taken_for_it(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(_BEGIN + _WAIT))
    run = start(platform, write_recipe(tmp_path))
    kill(platform, run)
    path = Path(platform.outputs.training.runs) / run / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"status": "running", "pid": os.getpid(), "pid_started": 1.0}))
    assert find_run(platform, run).state.status == "failed"


def test_a_run_sees_nothing_of_the_callers_environment(
    tmp_path: Path, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    platform = deploy(tmp_path, make_image("import os\nprint(*sorted(os.environ))"))
    run = start(platform, write_recipe(tmp_path))
    (line,) = platform.follow(run)
    assert "LLMOPS_ROOT" in line
    assert "AWS" not in line


@pytest.mark.vulnerability(13)
def test_vulnerability_13_training_gets_at_nothing_of_its_callers(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(_BEGIN + _FAIL))
    recipe = write_recipe(tmp_path)
    other = start(platform, recipe)
    list(platform.follow(other))
    outputs, cache = platform.outputs, Path(os.environ["LLMOPS_CACHE"])
    (cache / "venvs/training-test").chmod(0o700)  # as older kits made it
    store, image = tmp_path / "home" / "store", outputs.training.image.partition("@sha256:")[2]
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as control:
        control.bind(str(store / "s"))
        control.listen()
        targets = {
            "key": outputs.signing.private_key, "pid": os.getpid(), "own": "OWN", "socket": str(store / "s"),
            "port": server.getsockname()[1], "remove": ["OWN"], "list": [str(folder_of(platform, other) / "root")],
            "write": [
                str(store / "new"), str(cache / "images/training" / image / "app/new.py"), "SPEC",
                str(cache / "venvs/training-test/bin/new"), str(folder_of(platform, other) / "root/opt/ml/model/new"),
            ],
        }  # fmt: skip
        own = (
            "targets = json.loads(text.replace('OWN', f'{ml}/model').replace('SPEC', f'{ml}/input/data/spec/run.json'))"
        )
        code = inspect.getsource(intruder).replace('__name__ == "__main__"', "False")
        code += f"\nml = os.environ['LLMOPS_ROOT'] + '/opt/ml'\ntext = {json.dumps(targets)!r}\n{own}\n"
        platform.outputs = outputs.model_copy(
            update={
                "training": outputs.training.model_copy(update={"image": make_image(f"{code}print(intrude(targets))")})
            }
        )
        assert lines_of(platform, start(platform, recipe)) == ["['own']"]


@pytest.mark.vulnerability(13)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_vulnerability_13_a_reason_that_is_no_file_shows_nothing_of_the_callers(
    tmp_path: Path, make_image: MakeImage, kind: str
) -> None:
    key = tmp_path / "home" / "keys" / "signing.key"
    leave = {"link": f"failure.symlink_to({str(key)!r})", "pipe": "os.mkfifo(failure)", "folder": "failure.mkdir()"}
    platform = deploy(tmp_path, make_image(f"{_BEGIN}failure = ml / 'output/failure'\n{leave[kind]}\n"))
    run = start(platform, write_recipe(tmp_path))
    list(platform.follow(run))
    state = find_run(platform, run).state
    assert state.status == "failed"
    assert "PRIVATE" in key.read_text()
    assert "PRIVATE" not in state.failure
    platform.resume(run, lambda _: None)
    assert "stage=train start=2" in lines_of(platform, run)


@pytest.mark.vulnerability(13)
def test_vulnerability_13_where_training_can_not_be_confined_its_log_says_so(
    tmp_path: Path, make_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmops_kit.local_runtime.confinement._try", lambda *_: "no namespaces here")
    platform = deploy(tmp_path, make_image("print('trained')"))
    first, second = lines_of(platform, start(platform, write_recipe(tmp_path)))
    assert first.startswith("warning: training runs as you, and can read what you can, the stack's signing key too")
    assert "no namespaces here" in first
    assert second == "trained"


def test_other_data_is_another_run(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(_BEGIN + _FAIL))
    recipe = write_recipe(tmp_path)
    list(platform.follow(start(platform, recipe)))
    assert plan_run(platform, recipe, lambda _: None).same
    with (tmp_path / "facts.jsonl").open("a") as f:
        f.write('{"messages": [{"role": "user", "content": "New?"}, {"role": "assistant", "content": "Yes."}]}\n')
    assert plan_run(platform, recipe, lambda _: None).same is None


def test_an_embedding_model_is_not_trained(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(""))
    form = EmbeddingForm(pooling="mean", normalize=True, dimensions=8, max_tokens=16)
    path = tmp_path / "tiny" / "manifest.json"
    ModelManifest.load(path).model_copy(update={"task": "feature-extraction", "embedding": form, "golden": []}).write(
        path
    )
    platform.store().put_model(tmp_path / "tiny", platform.sign)
    recipe = write_recipe(tmp_path)
    recipe.write_text(RECIPE.replace("tiny@1", "tiny@2"))
    with pytest.raises(KitError, match="is a model for feature-extraction"):
        plan_run(platform, recipe, lambda _: None)


def test_an_image_that_is_gone_is_named_and_the_run_waits(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("")
    platform = deploy(tmp_path, f"process:training@sha256:{'f' * 64}")
    recipe = write_recipe(tmp_path)
    with pytest.raises(KitError, match="is not built on this machine"):
        start(platform, recipe)
    same = plan_run(platform, recipe, lambda _: None).same
    assert same
    assert same.state.status == "pending"


@pytest.mark.scorecard("dirty-jsonl")
def test_dirty_data_and_recipes_are_named_by_file_and_line(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(""))
    recipe = write_recipe(tmp_path)
    with (tmp_path / "facts.jsonl").open("a") as f:
        f.write('{"messages": []}\n')
    with pytest.raises(KitError) as caught:
        plan_run(platform, recipe, lambda _: None)
    assert f"{tmp_path / 'facts.jsonl'}:5" in str(caught.value)
    recipe.write_text(RECIPE.replace("low: 0.5", "low: 5"))
    with pytest.raises(KitError) as caught:
        plan_run(platform, recipe, lambda _: None)
    assert f"{recipe}:8: evaluation.gate.0.low" in caught.value.where
    assert not (tmp_path / "home" / "store" / "datasets").exists()


@pytest.mark.vulnerability(14)
def test_vulnerability_14_a_recipe_names_a_model_of_the_hub_by_its_commit(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    path.write_text(RECIPE.replace('"store:tiny@1"', '"hub:org/model", revision: main'))
    with pytest.raises(KitError, match="'main' is not a commit of the hub") as caught:
        parse_recipe(path)
    assert caught.value.where == f"{path}: base_model.revision"
    path.write_text(path.read_text().replace("main", "a" * 40))
    assert parse_recipe(path).base_model.revision == "a" * 40


def test_the_beginning_of_an_id_must_name_one_run(tmp_path: Path, make_image: MakeImage) -> None:
    platform = deploy(tmp_path, make_image(""))
    with pytest.raises(NotFoundError, match="there is no run nope"):
        find_run(platform, "nope")
    for number in (1, 2):
        spec = RunSpec.new(
            id=f"chatbot-{number}",
            created=f"2026-11-25T12:00:0{number}Z",
            recipe=Recipe.load(write_recipe(tmp_path)).model_dump(by_alias=True),
            dataset=Pinned(name="chatbot", sha256="a" * 64).model_dump(),
            base_model=Pinned(name="tiny", sha256="b" * 64).model_dump(),
            image="i",
            kit_version="0",
        )
        folder = Path(platform.outputs.training.runs) / spec.id
        folder.mkdir()
        spec.write(folder / "run.json")
        (folder / "state.json").write_text(f'{{"schema": "run-state/1", "id": "{spec.id}", "status": "stopped"}}')
    assert find_run(platform, "latest").spec.id == "chatbot-2"
    assert find_run(platform, "chatbot-1").spec.id == "chatbot-1"
    with pytest.raises(RunError, match="the beginning of 2 runs"):
        find_run(platform, "chat")
    with pytest.raises(NotFoundError) as caught:
        find_run(platform, "chatbt-1")
    assert caught.value.fix == "did you mean chatbot-1?"
    with pytest.raises(NotFoundError) as caught:
        parse_recipe(tmp_path / "recipes.yaml")
    assert caught.value.fix == f"did you mean {tmp_path / 'recipe.yaml'}?"


def test_a_run_may_ask_for_other_machines_where_there_are_any(platform: LocalPlatform) -> None:
    usual = Compute(instance_type="ml.g5.xlarge", max_hours=3)
    assert other_machines(platform, usual, {}) == usual
    assert other_machines(platform, usual, {"spot": True, "instances": 2}) == usual.model_copy(
        update={"spot": True, "instances": 2}
    )
    with pytest.raises(KitError, match="pattern") as caught:
        other_machines(platform, usual, {"instance_type": "5g"})
    assert caught.value.where == "--instance-type"
    assert other_machines(platform, None, {}) is None
    for wanted, options in (({"spot": False}, "--no-spot"), ({"instances": 2}, "--instances")):
        with pytest.raises(KitError, match="runs are processes of this machine") as refused:
            other_machines(platform, None, wanted)
        assert refused.value.where == options
