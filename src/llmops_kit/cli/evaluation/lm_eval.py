"""Tasks of EleutherAI's lm-evaluation-harness, run against a version that the serving image serves on this machine.

The harness has its own environment (requirements/lm-eval.txt), without torch: it uses the server's OpenAI API, so
only tasks that generate text are possible. Sources: https://github.com/EleutherAI/lm-evaluation-harness,
lm_eval/models/openai_completions.py and docs/interface.md of 0.4.13.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_kit.cli.chat_http import loaded_model
from llmops_kit.cli.evaluation.models import StoredModel
from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import KitError, RunError
from llmops_kit.local_runtime import process_images, warden

_STREAMS = 4  # requests at a time
_ASKED = re.compile(r"Requesting API:\s+(\d+)%")
_LISTENS = re.compile(r"listening on [\d.]+:(\d+)")
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_FIX = "check the task's YAML, and for tasks on the hub the network; --include-path names a folder of your own"


@dataclass(frozen=True)
class TaskScore:
    """A metric of a task, as reported by the harness."""

    task: str
    metric: str
    value: float
    stderr: float | None
    higher_is_better: bool
    rows: int


def run_tasks(
    model: StoredModel, public_key: str, tasks: Sequence[str], include: Path | None, say: Say
) -> list[TaskScore]:
    """Serves a version on a loopback port and runs the harness against it.

    Args:
        model: a version of the store.
        public_key: the stack's key, by which the server verifies it.
        tasks: names.
        include: a folder with further tasks. Their YAML may name Python code, which the harness executes.
        say: called before slow steps. An exception from it ends server and harness.

    Raises:
        RunError: a task is unknown or failed, or the server did not start.
        KitError: the harness wrote no results.
    """
    if wrong := [task for task in tasks if not _TASK.fullmatch(task)]:
        raise RunError(f"{wrong[0]!r} is not a valid task name", where="--lm-eval", fix="write TASK or TASK,TASK")
    harness = process_images.find(process_images.build("lm-eval", say))
    with tempfile.TemporaryDirectory(prefix="lm-eval-") as folder, _served(model, public_key, Path(folder), say) as at:
        url, key = at
        out = Path(folder) / "results"
        server = f"model={model.name},base_url={url}/v1/chat/completions,num_concurrent={_STREAMS}"
        arguments = [
            *("--model", "local-chat-completions", "--apply_chat_template"),
            *("--model_args", f"{server},tokenizer_backend=None"),
            *("--tasks", ",".join(tasks), "--output_path", str(out)),
            *(("--include_path", str(include.resolve())) if include else ()),
        ]
        # Tasks on the hub are fetched, with its address and token, proxies and certificates from this environment.
        network = {k: v for k, v in os.environ.items() if k.startswith(("HF_", "SSL_")) or k.lower().endswith("_proxy")}
        environ = process_images.process_environ(harness, Path(folder), extra=network | {"OPENAI_API_KEY": key})
        _run([str(harness.python), "-m", "lm_eval", "run", *arguments], environ, Path(folder), say)
        return _scores(out)


@contextmanager
def _served(model: StoredModel, public_key: str, folder: Path, say: Say) -> Iterator[tuple[str, str]]:
    """Runs the version's server; yields its base URL and key. It ends with the block, and with this process."""
    root, log = folder / "server", folder / "server.log"
    place = root / "opt/ml/model"
    place.parent.mkdir(parents=True)
    place.symlink_to(model.fetch(say))
    key, key_file = secrets.token_hex(16), root / "api.key"
    key_file.touch(mode=0o600)
    key_file.write_text(key)
    image = process_images.find(process_images.build(image_for(model.manifest, os.environ), say))
    variables = {
        "LLMOPS_BIND": "127.0.0.1",
        "LLMOPS_API_KEY_FILE": str(key_file),
        "LLMOPS_PUBLIC_KEY": public_key,
        "LLMOPS_MODEL_NAME": model.name,
        "LLMOPS_MODEL_SHA256": model.sha256,
        "LLMOPS_GOLDEN": "reported",  # a bad version is measured too
    }
    run: warden.WardenRun = {
        "argv": [str(image.python), "-m", "llmops_kit.serving", "serve"],
        "environ": process_images.process_environ(image, root, port=0, extra=variables),
        "cwd": str(root),
        "after": [],
    }
    command = [sys.executable, "-I", "-S", warden.__file__]
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output) as held,
    ):
        assert held.stdin
        try:
            held.stdin.write(warden.encoded(run))
            held.stdin.flush()
            yield _wait(held, log, model), key
        finally:
            held.stdin.close()


def image_for(manifest: ModelManifest, environ: Mapping[str, str]) -> str:
    """Returns the image that serves a version on this machine, as an endpoint with `engine: auto` would: vLLM's where
    there is a GPU; on processors OpenVINO's, or transformers' if the version lacks OpenVINO's form.
    """
    usual = process_images.serving_image("auto", environ)
    return "serving-torch" if usual == "serving" and "openvino" not in manifest.engines else usual


def _wait(server: "subprocess.Popen[bytes]", log: Path, model: StoredModel) -> str:
    """Returns the server's base URL, once it has loaded the version."""
    while server.poll() is None:
        if (found := _LISTENS.search(log.read_text())) and loaded_model(url := f"http://127.0.0.1:{found[1]}"):
            return url
        time.sleep(0.1)
    lines = log.read_text().splitlines()
    raise RunError(
        f"its server ended: {lines[-1] if lines else 'without output'}",
        where=model.name,
        fix="`llmops models verify` checks the version; `llmops doctor` checks this machine",
    )


def _run(command: list[str], environ: dict[str, str], cwd: Path, say: Say) -> None:
    """Runs the harness to its end, reporting progress in steps of 10 %."""
    lines, tenth = [""], -1
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        assert process.stdout
        try:
            for line in map(str.strip, process.stdout):
                if asked := _ASKED.match(line):
                    if int(asked[1]) // 10 > tenth:
                        tenth = int(asked[1]) // 10
                        say(f"lm-eval: answered {asked[1]} %")
                elif line:
                    lines = [*lines[-40:], line]
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RunError(f"the harness failed: {lines[-1]}", where=f"--lm-eval {command[-1]}", fix=_FIX)


def _scores(out: Path) -> list[TaskScore]:
    """Returns the harness's results: `results` by task, with keys `metric,filter` and `metric_stderr,filter`."""
    files = sorted(out.rglob("results_*.json"))
    if not files:
        raise KitError("the harness wrote no results", where=str(out), fix=_FIX)
    found = json.loads(files[-1].read_text())
    scores = []
    for task, values in found["results"].items():
        for name, value in values.items():
            metric, comma, chosen = name.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            scores.append(
                TaskScore(
                    task=task,
                    metric=metric if chosen == "none" else name,
                    value=float(value),
                    stderr=_number(values.get(f"{metric}_stderr,{chosen}")),
                    higher_is_better=bool(found.get("higher_is_better", {}).get(task, {}).get(metric, True)),
                    rows=int(found.get("n-samples", {}).get(task, {}).get("effective", 0)),
                )
            )
    return scores


def _number(value: Any) -> float | None:
    """Returns a number; None for the harness's N/A."""
    return float(value) if isinstance(value, int | float) else None
