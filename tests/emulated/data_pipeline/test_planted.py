"""`python -m llmops_kit.data_pipeline` on a corpus with planted faults: what it finds, on any number of workers, killed
or not.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pytest

from llmops_kit.cli.data.collect import collect
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.integrity.digest import check_folder
from llmops_kit.core.words import words_of
from llmops_kit.data_pipeline.shingles import similarities
from llmops_kit.training.data.lines import read_lines
from tests.support.checkout import CHECKOUT
from tests.support.runs.planted import SECRET_LEFT, Corpus

THRESHOLD = 0.7
RAY_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}

REDACTED_CALL = {
    "messages": [
        {"role": "user", "content": "Write to the person in charge, please, and tell them that the boat has left."},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "mail", "arguments": json.dumps(
            {"to": ["crypto <1BoatSLRHtKNngkdXEeobR76b53LETtpyT>"], "body": 'He said "go".'})}}]},
        {"role": "tool", "content": "sent"},
        {"role": "assistant", "content": "I have sent it to 1BoatSLRHtKNngkdXEeobR76b53LETtpyT."},
    ],
    "tools": [{"type": "function", "function": {"name": "mail", "parameters": {"type": "object", "properties": {}}}}],
    "planted": "call",
    "number": "call",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, collected, and two recipes: with personal data, and without, which imports much less."""
    folder = tmp_path_factory.mktemp("planted")
    corpus = Corpus()
    corpus.held_out.append(REDACTED_CALL)
    corpus.write(folder)
    pii = dict.fromkeys(["EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "US_SSN"], "drop")
    write_recipe(folder, "recipe", {"pii": {**pii, "CRYPTO": "redact"}})
    sources = write_recipe(folder, "light", {}).data.sources
    collect(sources, folder, folder / "collected", secret=str, say=lambda _: None)
    return folder


def write_recipe(folder: Path, name: str, prepare: dict[str, Any]) -> Recipe:
    common = {"languages": ["en"], "secrets": "drop", "near_duplicates": THRESHOLD, "overlap_words": 13}
    recipe = Recipe.new(
        name="planted",
        base_model={"name": "base", "source": "folder:base"},
        data={
            "sources": [{"source": "train.jsonl"}, {"source": "test.jsonl", "split": "test"}],
            "prepare": {**common, **prepare},
        },
        training={"method": "pretrain"},
        evaluation={"suites": [{"name": "held-out", "split": "test"}]},
    )
    recipe.write(folder / f"{name}.json")
    return recipe


def start(home: Path, target: str, workers: int, recipe: str = "light", **extra: str) -> "subprocess.Popen[str]":
    options = ("--root", home, "--work", home / f"{target}.stages", "--workers", str(workers))
    options += tuple(f"--{name}={value}" for name, value in extra.items())
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "llmops_kit.data_pipeline",
            home / f"{recipe}.json",
            home / "collected",
            home / target,
            *options,
        ],
        cwd=CHECKOUT,
        env={**os.environ, **RAY_TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[str, list[str]]:
    """The version's identity, and what was said."""
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stdout + stderr
    *said, sha256 = stdout.splitlines()
    return sha256, said


@pytest.fixture(scope="module")
def prepared(home: Path) -> Path:
    finish(start(home, "all", 1, "recipe"))
    return home / "all"


def test_planted_faults_are_found(prepared: Path) -> None:
    """The figures are those of docs/how-to/own-data.md."""
    folder = prepared
    manifest = DatasetManifest.load(folder / "manifest.json")
    check_folder(folder, manifest.files)
    rows = [json.loads(line) for line in read_lines(folder / "train.parquet")]
    corpus = Corpus()
    planted, left = corpus.planted(), Counter(row["planted"] for row in rows)
    dropped = {kind: planted[kind] - left[kind] for kind in planted}
    # What was dropped for a reason that nothing was planted for would be missing here.
    untouched = ("harmless", "half alike", "short passage", "disguised")
    assert {kind: dropped[kind] for kind in untouched} == dict.fromkeys(untouched, 0)
    by_reason = Counter()
    for reason, count in manifest.dropped.items():
        by_reason[reason.partition(":")[0]] += count
    first, second = (pyarrow.array(map(folded, texts)) for texts in zip(*corpus.edited, strict=True))
    alike = int((similarities(first, second, 5) >= THRESHOLD).sum())
    found = {"personal data": 72, "secret": 48, "language": 40, "duplicate": 50, "train": 30}
    assert {reason: by_reason[reason] for reason in found} == found
    assert 0.95 * alike <= by_reason["near duplicate"] <= alike
    # One of two alike is dropped, whichever comes later: the planted one or the one it was made from.
    assert dropped["clean"] + dropped["duplicate"] + dropped["near duplicate"] == 50 + by_reason["near duplicate"]


def folded(text: str) -> str:
    return " ".join(words_of(text))


def test_what_is_redacted_stays_a_row(prepared: Path) -> None:
    folder = prepared
    [call] = [json.loads(line) for line in read_lines(folder / "test.parquet") if b'"call"' in line]
    arguments = call["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert arguments == {"to": ["crypto <<CRYPTO>>"], "body": 'He said "go".'}
    assert call["messages"][3]["content"] == "I have sent it to <CRYPTO>."
    manifest = DatasetManifest.load(folder / "manifest.json")
    assert manifest.redacted == {"CRYPTO": 1}
    shown = manifest.examples["personal data: EMAIL_ADDRESS"]
    assert 0 < len(shown) <= 5
    assert SECRET_LEFT not in (folder / "manifest.json").read_text()


def test_any_number_of_workers_gives_the_same_version_killed_or_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = start(home, "two", 2)
    assert killed.stdout
    for line in killed.stdout:
        if "candidate pairs" in line:
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (home / "two").exists()
    two, said = finish(start(home, "two", 2))
    assert {"read: kept from before", "examined: kept from before"} <= set(said)
    assert "near-duplicates: kept from before" not in said
    assert finish(start(home, "1", 1))[0] == two
    monkeypatch.setenv("TMPDIR", str(long_folder(home)))  # where a server's socket finds no place
    assert finish(start(home, "4", 4))[0] == two


def long_folder(home: Path) -> Path:
    folder = home / ("x" * 100)
    folder.mkdir()
    return folder


def test_nothing_is_left_running_where_it_is_killed_while_rows_are_examined(home: Path) -> None:
    killed = start(home, "left", 2)
    started = processes_of(killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


def test_a_worker_that_is_killed_is_told(home: Path) -> None:
    process = start(home, "broken", 2)
    processes_of(process)[-1].kill()
    told = json.loads(process.communicate()[1].splitlines()[-1])
    assert process.returncode == 1
    assert "was killed" in told["what"]
    assert "--workers" in told["fix"]


def processes_of(preparation: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The processes of a preparation by two workers that has begun to examine rows, the workers last."""
    assert preparation.stdout
    assert any("examine: by 2 processes" in line for line in preparation.stdout)
    started: list[psutil.Process] = []
    while len(started) < len(["tracker of resources", "server", "worker", "worker"]):
        assert preparation.poll() is None, "it ended before"
        started = psutil.Process(preparation.pid).children(recursive=True)
    return started


@pytest.mark.long
def test_a_ray_cluster_gives_the_same_version(home: Path) -> None:
    here, _ = finish(start(home, "here", 2))
    host = "127.0.0.2"  # for 127.0.0.1, Ray takes the address of a network interface
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    ray = str(Path(sys.executable).with_name("ray"))
    options = (f"--port={port}", f"--node-ip-address={host}", "--num-cpus=2", "--include-dashboard=false")
    command = [ray, "start", "--head", "--block", "--disable-usage-stats", *options]
    with subprocess.Popen(
        command, env={**os.environ, **RAY_TOKEN}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as head:
        assert head.stdout
        try:
            assert any("Ray runtime started" in line for line in head.stdout)
            there, _ = finish(start(home, "there", 2, ray=f"{host}:{port}"))
        finally:
            for process in (*psutil.Process(head.pid).children(recursive=True), head):
                process.kill()
    assert there == here
