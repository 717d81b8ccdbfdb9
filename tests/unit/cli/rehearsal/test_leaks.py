"""A secret that is planted in each kind of place is found there, and only there."""

import base64
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from llmops_kit.cli.rehearsal import leaks
from llmops_kit.cli.rehearsal.leaks import Accepted, Known

VALUE = "pass/word+with=signs"
SECRET = Known("$PULUMI_CONFIG_PASSPHRASE", VALUE)
PROMPT = Known("a prompt", 'Who is "Anna"?', "prompt")
pytestmark = pytest.mark.scorecard("secrets")


def names(found: Iterator[leaks.Leak]) -> list[str]:
    return [leak.what for leak in found]


@pytest.mark.parametrize(
    "content",
    [
        f"before {VALUE} after".encode(),
        json.dumps({"checkpoint": {"latest": {"value": VALUE}}}).encode(),
        base64.b64encode(VALUE.encode()),
        f"https://host/?code={quote(VALUE, safe='')}".encode(),
        gzip.compress(f"history {VALUE}".encode(), mtime=0),
        b"\0" * 100_000 + VALUE.encode() + b"\0" * 100_000,
    ],
)
@pytest.mark.parametrize("name", ["stack.json", "engine.log", "dev.checkpoint.gz", "left-over/tmp1234"])
def test_a_secret_in_a_file_is_found(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "empty").touch()
    (tmp_path / "innocent.log").write_text("nothing")
    path.write_bytes(content)
    (found,) = leaks.in_files([SECRET, PROMPT], tmp_path)
    assert found == (SECRET.name, str(path))
    assert VALUE not in str(found)
    assert not list(leaks.in_files([SECRET], tmp_path, [Accepted(name, "said so")]))


@pytest.mark.parametrize("before", [(1 << 24) - 5, 1 << 24])
def test_a_secret_is_found_where_two_parts_of_a_large_file_meet(tmp_path: Path, before: int) -> None:
    token = b"&sig=" + b"A" * 43
    (tmp_path / "blob").write_bytes(b"\0" * before + VALUE.encode() + token)
    assert sorted(names(leaks.in_files([SECRET], tmp_path))) == [SECRET.name, "a signed address"]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a private key", "-----BEGIN EC PRIVATE KEY-----"),
        ("a private key", "-----BEGIN PRIVATE KEY-----"),
        ("a bearer token", f"Bearer eyJ{'a' * 30}.eyJ{'b' * 30}.c2lnbmF0dXJl"),
        ("a signed address", f"https://x.blob/y?sv=1&sig={'A' * 43}%3D"),
        ("a signed address", f"https://s3/y?X-Amz-Signature={'0' * 64}"),
        ("a session token of AWS", f'"X-Amz-Security-Token": "{"A" * 40}"'),
        ("a session token of AWS", f"x-amz-SECURITY-token={'A' * 40}"),
    ],
)
def test_a_secret_that_nobody_knew_is_found_by_its_shape(tmp_path: Path, what: str, text: str) -> None:
    (tmp_path / "worker.log").write_text(text)
    assert names(leaks.in_files([], tmp_path)) == [what]


def test_a_prompt_belongs_into_data_and_into_no_log_or_report(tmp_path: Path) -> None:
    (tmp_path / "letters.jsonl").write_text(json.dumps({"content": PROMPT.value}))
    assert not list(leaks.in_files([PROMPT], tmp_path))
    for name in ("router.log", "logs.txt", "report.html", "report.json"):
        path = tmp_path / name
        path.write_text(json.dumps({"content": PROMPT.value}))
        assert names(leaks.in_files([PROMPT], tmp_path)) == ["a prompt"]
        path.unlink()
    assert names(leaks.in_text([PROMPT], PROMPT.value.encode(), "the state")) == ["a prompt"]


@contextmanager
def running(folder: Path, *words: str, environ: Mapping[str, str] | None = None) -> Iterator[list[psutil.Process]]:
    """A process that works in a folder and writes no core file, and what is found of it."""
    began = time.time()
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **(environ or {})}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield leaks.of_folder(folder, began)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("words", "environ", "where"),
    [
        ((f"--passphrase={VALUE}",), {}, "the command line of process"),
        ((), {"SOMETHING": f"a {VALUE} b"}, "SOMETHING"),
        ((), {"SOMETHING_PASSWORD": "which nobody knew"}, "SOMETHING_PASSWORD"),
        ((), {}, ""),
    ],
)
def test_a_secret_in_a_process_is_found(
    tmp_path: Path, words: tuple[str, ...], environ: dict[str, str], where: str
) -> None:
    with running(tmp_path, *words, environ=environ) as processes:
        assert len(processes) == 1
        found = list(leaks.in_processes([SECRET], processes))
        assert bool(found) is bool(where)
        assert all(where in leak.where for leak in found)
        assert (
            not list(leaks.in_processes([SECRET], processes, [Accepted("process *: SOMETHING*", "said so")])) or words
        )


def test_a_process_is_found_though_its_start_is_told_a_second_early(tmp_path: Path) -> None:
    with running(tmp_path) as [process]:
        assert leaks.of_folder(tmp_path, process.create_time() + 1.1) == [process]
        assert not leaks.of_folder(tmp_path, process.create_time() + 60)


def test_a_process_that_could_write_its_memory_is_found(tmp_path: Path) -> None:
    with running(tmp_path) as processes:
        psutil.Process(processes[0].pid).rlimit(psutil.RLIMIT_CORE, (0, 0))
        assert not list(leaks.in_processes([], processes))


@pytest.mark.parametrize("limit", [psutil.RLIM_INFINITY, 4096])
def test_a_limit_above_zero_is_a_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    said = f"Max core file size        {'unlimited' if limit == psutil.RLIM_INFINITY else limit}   0   bytes"
    monkeypatch.setattr(Path, "read_text", lambda *_: said)
    with running(tmp_path) as processes:
        assert names(leaks.in_processes([], processes)) == ["memory, at a crash,"]


def test_a_core_file_is_found_by_its_header(tmp_path: Path) -> None:
    header = bytearray(64)
    header[:5], header[16] = b"\x7fELF\x02", 4
    (tmp_path / "innocent").write_bytes(bytes(header))
    assert names(leaks.in_files([], tmp_path)) == ["memory"]
    header[16] = 3  # a library
    (tmp_path / "innocent").write_bytes(bytes(header))
    assert not list(leaks.in_files([], tmp_path))


def test_secrets_of_an_environment_are_known_by_their_names() -> None:
    environ = {
        "AWS_SECRET_ACCESS_KEY": VALUE,
        "AWS_SESSION_TOKEN": VALUE,
        "ARM_CLIENT_SECRET": VALUE,
        "IDENTITY_HEADER": VALUE,
        "PULUMI_CONFIG_PASSPHRASE": VALUE,
        "LLMOPS_API_KEY": VALUE,
        "PULUMI_CONFIG_PASSPHRASE_FILE": "/some/where/else",
        "ARM_OIDC_TOKEN_FILE_PATH": "/some/where/else",
        "GITHUB_TOKEN": "short",
        "PATH": "/usr/bin:/bin",
    }
    assert len(list(leaks.secrets_of(environ))) == 6
