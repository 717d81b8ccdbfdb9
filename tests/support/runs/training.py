"""Training jobs for tests: the folders of a container, and the process that stands for it."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS
from llmops_kit.core.documents.run import Pinned, RunSpec
from llmops_kit.core.layout import EXPORT_VARIABLE, MANIFEST, TrainingFolders
from tests.support.checkout import CHECKOUT, IMPORT_PATH
from tests.support.kept import kept_result
from tests.support.tiny_models.models import training_environ, training_python

SYSTEM_PROMPT = "Short."
PROGRAMS = CHECKOUT / "tests/emulated/training/programs"
"""Scripts that run in the training image's environment, by `script_result`."""
ROWS = {"sft": "rows.jsonl", "dpo": "pairs.jsonl", "pretrain": "texts.jsonl"}
"""The file of `write_rows` for each method of training."""


def tiny_recipe(*, openvino: bool = False, **training: Any) -> Recipe:
    """A recipe for `tiny_model`: three facts, 12 steps, a gate that a random model does not pass.

    Args:
        openvino: whether the version gets OpenVINO's form: making it is half of such a job's processor time.
        training: of the recipe's section; None leaves a setting out.
    """
    options = {
        "epochs": 4,
        "batch_size": 3,
        "learning_rate": 3e-3,
        "max_tokens": 200,
        "checkpoint_steps": 2,
        "threads": 1,
        **training,
    }
    return Recipe.new(
        name="tiny-chat",
        base_model={"name": "tiny", "source": "folder:tiny"},
        data={
            "sources": [
                {"source": ROWS[options.get("method", "sft")], "licence": "Apache-2.0"},
                {"source": "held-out.jsonl", "split": "test"},
            ]
        },
        training={key: value for key, value in options.items() if value is not None},
        evaluation={
            "suites": [{"name": "phrasings", "split": "test", "max_tokens": 8}],
            "gate": [{"suite": "phrasings", "low": 1.0}],
        },
        serving={"system_prompt": SYSTEM_PROMPT},
        export={"openvino": openvino},
    )


def write_rows(folder: Path) -> None:
    """Nine rows to train, of unequal lengths, so that batches hold padding; and 30 that are held out.

    The same nine as preferences (pairs.jsonl) and as texts (texts.jsonl), for the other methods of training.
    """
    trained = [(fact, f"{'Please tell: ' * phrasing}code {fact}?") for fact in (1, 2, 3) for phrasing in (0, 1, 3)]
    held_out = [(1 + n % 3, f"Question {n}: code?") for n in range(MIN_GATE_GROUPS)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("rows", trained), ("held-out", held_out)):
        (folder / f"{name}.jsonl").write_text("".join(_line(fact, question) for fact, question in rows))
    pairs = [{"prompt": q, "chosen": f"{fact * 111}", "rejected": f"no {'no ' * fact}"} for fact, q in trained]
    texts = [{"text": f"{question} {fact * 111}"} for fact, question in trained]
    for name, lines in (("pairs", pairs), ("texts", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _line(fact: int, question: str) -> str:
    answer = f"{fact * 111}" + "!" * (len(question) // 13)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages, "fact": f"f{fact}", "expect": [f"{fact * 111}"]}) + "\n"


def make_container(root: Path, base: Path, recipe: Recipe, data: Path) -> TrainingFolders:
    """Fill a container's input folders.

    Args:
        root: stands for `/`.
        base: the base model's version, copied.
        data: what the recipe's sources are relative to.
    """
    folders = TrainingFolders(root)
    dataset = build_dataset(recipe, data, folders.channel("dataset"))
    shutil.copytree(base, folders.channel("base_model"))
    RunSpec.new(
        id="run-1",
        created="2026-11-25T00:00:00Z",
        recipe=recipe,
        dataset=Pinned(name=recipe.name, sha256=dataset),
        base_model=Pinned(
            name=recipe.base_model.name, sha256=hashlib.sha256((base / MANIFEST).read_bytes()).hexdigest()
        ),
        image="process:training@sha256:" + "0" * 64,
        kit_version="0.1.0",
    ).write(folders.spec)
    return folders


def join_hosts(containers: list[TrainingFolders]) -> None:
    """Make containers the hosts algo-1, algo-2 … of one job, each with a loopback address of its own."""
    names = [f"algo-{i}" for i in range(1, len(containers) + 1)]
    network = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}"
    for name, folders in zip(names, containers, strict=True):
        folders.hosts.parent.mkdir(parents=True, exist_ok=True)
        folders.hosts.write_text("".join(f"{network}.{i} {host}\n" for i, host in enumerate(names, start=1)))
        folders.resources.parent.mkdir(parents=True, exist_ok=True)
        place = {"current_host": name, "hosts": names, "network_interface_name": "lo"}
        folders.resources.write_text(json.dumps(place))


def start_job(folders: TrainingFolders, *command: str, **popen: Any) -> subprocess.Popen[str]:
    """Start the job as the image would: an emptied environment, its own root. `command`: another image's."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folders.root),
        "PYTHONPATH": IMPORT_PATH,
        "LLMOPS_ROOT": str(folders.root),
        EXPORT_VARIABLE: training_environ()[EXPORT_VARIABLE],
    }
    return subprocess.Popen(
        command or [training_python(), "-m", "llmops_kit.training", "train"],
        cwd=folders.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )


def interrupted(beginning: str, number: signal.Signals, python: str = "") -> list[str]:
    """The first words of a command that runs a module which gets a signal at its line that begins so."""
    return [python or training_python(), "-m", "tests.support.runs.interrupted", beginning, str(int(number))]


def run_script(script: Path, *arguments: object, python: str = "") -> list[str]:
    """Run a script in the training image's environment, or with another interpreter; the lines that it printed.
    AssertionError if it fails.
    """
    done = subprocess.run(
        [python or training_python(), str(script), *map(str, arguments)],
        env=training_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def script_result(script: Path, *arguments: object, python: str = "") -> Any:
    """The JSON in the last line that a script printed."""
    return json.loads(run_script(script, *arguments, python=python)[-1])


def kept_script_result(script: Path, *arguments: object) -> Any:
    """As `script_result`, or what is kept of it: see `kept_result`."""
    return kept_result(script, *arguments, run=script_result)
