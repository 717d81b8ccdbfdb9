"""`llmops serve`: two folders side by side, until Ctrl-C, after which nothing of it is left."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from llmops_kit.core.layout import cache_dir
from llmops_kit.local_runtime.child import MARK
from tests.support.checkout import IMPORT_PATH
from tests.support.tiny_models.models import tiny_source


def homes() -> set[Path]:
    return {path for path in (cache_dir() / "serve").glob("*") if path.is_dir()}


def processes_of(home: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(str(home)):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def ask(access: dict[str, Any], path: str, body: Any = None, variant: str = "") -> Any:
    headers = {"Authorization": f"Bearer {access['key']}", "Content-Type": "application/json"}
    headers |= {"X-Llmops-Variant": variant} if variant else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(access["url"] + path, data, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def test_two_folders_are_served_until_ctrl_c_and_nothing_stays(tmp_path: Path) -> None:
    first, second = (shutil.copytree(tiny_source(seed), tmp_path / f"seed{seed}" / "Tiny_1") for seed in (0, 1))
    before = homes()
    command = [sys.executable, "-m", "llmops_kit.cli", "serve", str(first), "--against", str(second), "--json"]
    environ = os.environ | {"PYTHONPATH": IMPORT_PATH}
    log = tmp_path / "log"
    with (
        log.open("w") as err,
        subprocess.Popen(
            command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=err, text=True, process_group=0
        ) as process,
    ):
        assert process.stdout
        lines = iter(process.stdout.readline, "")
        text = "".join(line for line in iter(lambda: next(lines, "}\n"), "}\n")) + "}"
        assert text.startswith("{"), log.read_text()
        access = json.loads(text)
        (home,) = homes() - before
        try:
            assert access["models"] == ["tiny-1", "tiny-1-b"]
            assert access["page"].endswith(f"/#key={access['key']}&compare")
            variants = sorted(ask(access, "/models", variant="*")["data"], key=lambda v: -v["weight"])
            assert [v["weight"] for v in variants] == [100, 0]
            described = [ask(access, "/models", variant=v["id"])["data"][0]["id"] for v in variants]
            assert described == access["models"]
            question = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 8}
            answers = [ask(access, "/chat/completions", question, v) for v in ("", *(v["id"] for v in variants))]
            said = [answer["choices"][0]["message"]["content"] for answer in answers]
            assert said[0] == said[1] != said[2]
            assert processes_of(home)
            assert home.stat().st_mode & 0o077 == 0
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(300) == 0
    words = log.read_text()
    assert "Traceback" not in words
    assert "stopped; all processes have ended" in words
    assert not home.exists()
    assert processes_of(home) == []
