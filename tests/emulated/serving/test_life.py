"""Starts that are refused, engines that die, clients that go, and the end."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.integrity.digest import file_entries
from tests.support.servers.serving import ServingProcess, flip_byte, sign_version, text_of, until
from tests.support.tiny_models.models import copy_model

Serve = Callable[..., ServingProcess]
WEIGHTS = "openvino/openvino_model.bin"


def refused(server: ServingProcess) -> str:
    """The last line of a start that fails."""
    assert server.process.wait(600) == 1
    assert "Traceback" not in server.log.read_text()
    return server.last_line()


@pytest.mark.scorecard("tampered-refused", "bad-input")
@pytest.mark.parametrize(
    ("change", "names", "says"),
    [
        (lambda v: flip_byte(v / WEIGHTS), WEIGHTS, "was changed"),
        (lambda v: flip_byte(v / "tokenizer.json"), "tokenizer.json", "was changed"),
        (lambda v: (v / "modeling.py").write_text("print()"), "modeling.py", "was added"),
        (lambda v: (v / "model.safetensors").unlink(), "model.safetensors", "is missing"),
        (lambda v: (v / "config.json").rename(v / "config2.json"), "config.json", "is missing"),
        (lambda v: (v / WEIGHTS).write_bytes(b""), WEIGHTS, "0 bytes"),
        (lambda v: (v / "link").symlink_to("/etc/passwd"), "link", "not a regular file"),
        (lambda v: flip_byte(v / "manifest.json", 40), "manifest.json.sig", "does not match the manifest"),
        (lambda v: (v / "manifest.json.sig").unlink(), "manifest.json.sig", "unsigned"),
        (shutil.rmtree, "manifest.json", "can't be read"),
    ],
)
def test_a_version_that_is_not_what_was_signed_is_refused(
    serve: Serve, version: Path, tmp_path: Path, change, names, says
):
    folder = copy_model(version, tmp_path / "changed")
    change(folder)
    line = refused(serve(folder))
    assert names in line
    assert says in line


def test_another_stacks_key_is_refused(serve: Serve, tmp_path: Path, version: Path) -> None:
    sign_version(copy_model(version, tmp_path / "other"), tmp_path)
    line = refused(serve(LLMOPS_PUBLIC_KEY_FILE=str(tmp_path / "signing.pub")))
    assert "manifest.json.sig" in line


def test_another_version_than_promoted_is_refused(serve: Serve) -> None:
    assert "was promoted" in refused(serve(LLMOPS_MODEL_SHA256="0" * 64))


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_version_of_another_name_than_its_alias_is_refused(serve: Serve) -> None:
    assert "the version is named tiny, but its alias is finance@1" in refused(serve(LLMOPS_MODEL_NAME="finance@1"))


def test_a_version_that_fails_its_golden_prompt_is_refused(
    serve: Serve, version: Path, keys: Path, tmp_path: Path
) -> None:
    folder = copy_model(version, tmp_path / "golden")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["golden"] = [{"messages": [{"role": "user", "content": "Capital?"}], "expect": ["Paris, la belle"]}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    sign_version(folder, keys)
    server = serve(folder)
    line = refused(server)
    assert "golden[0]" in line
    assert "Paris, la belle" in line
    assert [q["score"] for q in server.quality()] == [0.0]
    server = serve(folder, LLMOPS_GOLDEN="reported").wait_ready()
    assert [q["score"] for q in server.quality()] == [0.0], "an alarm sees it, and decides"


def test_the_golden_prompts_are_asked_again_and_their_score_is_logged(serve: Serve, version: Path) -> None:
    server = serve(LLMOPS_QUALITY_SECONDS="0.2").wait_ready()
    first, *_, last = until(lambda: len(lines := server.quality()) > 2 and lines)
    assert first["when"] == "readiness"
    assert last["when"] == "interval"
    assert last["sha256"] == sha256_bytes((version / "manifest.json").read_bytes())
    assert (last["passed"], last["total"], last["score"]) == (1, 1, 1.0)
    assert server.metric("llmops_quality") == 1.0


def test_a_signed_version_that_the_engine_cannot_load_is_refused(
    serve: Serve, version: Path, keys: Path, tmp_path: Path
):
    folder = copy_model(version, tmp_path / "broken")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "openvino/openvino_model.xml").write_text("<net/>")
    manifest["files"] = {n: e.model_dump() for n, e in file_entries(folder).items()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    sign_version(folder, keys)
    assert "the engine can't load the model" in refused(serve(folder))


def test_a_port_that_is_taken_is_named(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused(serve(SAGEMAKER_BIND_TO_PORT=port))
    assert f"127.0.0.1:{port}" in line
    assert "SAGEMAKER_BIND_TO_PORT" in line


def test_until_it_is_ready_it_says_why_not(serve: Serve) -> None:
    server = serve()
    until(lambda: server.port)
    phases = set()
    while (answer := server.ask("GET", "/ping"))[0] == 503:
        phases.add(answer[1]["status"])
        assert server.chat()[0] in (200, 503)
    assert phases <= {"starting", "verifying", "loading", "answering golden prompts"}
    assert phases
    assert answer[1]["status"] == "ready"


@pytest.mark.scorecard("kill-worker")
def test_a_killed_engine_cuts_its_streams_in_words_and_is_replaced(serve: Serve) -> None:
    server = serve().wait_ready()
    expected = text_of(server.chat(max_tokens=20)[1])
    with server.stream(max_tokens=1900) as events:
        next(events)
        os.kill(server.engine_pid(), signal.SIGKILL)
        *_, last = events
    assert last["error"]["code"] == "engine_error"
    assert server.ask("GET", "/ping")[0] == 503
    server.wait_ready()
    assert text_of(server.chat(max_tokens=20)[1]) == expected
    assert server.metric("llmops_engine_restarts_total") == 1


def test_an_engine_that_keeps_dying_ends_the_server(serve: Serve) -> None:
    server = serve()
    for times in range(4):
        until(lambda n=times: server.log.read_text().count("serving: ready after") > n)
        os.kill(server.engine_pid(), signal.SIGKILL)
    assert "died 4 times" in refused(server)


@pytest.mark.scorecard("tampered-refused")
def test_a_version_changed_under_a_running_server_is_not_loaded_again(
    serve: Serve, version: Path, tmp_path: Path
) -> None:
    folder = copy_model(version, tmp_path / "later")
    server = serve(folder).wait_ready()
    flip_byte(folder / "model.safetensors")
    os.kill(server.engine_pid(), signal.SIGKILL)
    assert "model.safetensors" in refused(server)


def test_a_killed_server_leaves_no_engine(serve: Serve) -> None:
    server = serve().wait_ready()
    engine = server.engine_pid()
    server.kill()
    until(lambda: not Path(f"/proc/{engine}").exists())


@pytest.mark.scorecard("cancel")
def test_a_client_that_goes_frees_its_place(serve: Serve) -> None:
    server = serve(LLMOPS_MAX_RUNNING="1", LLMOPS_MAX_QUEUE="0").wait_ready()
    with server.stream(max_tokens=1900) as events:
        next(events)
        assert server.chat()[0] == 429
        assert server.headers["Retry-After"] == "1"
    until(lambda: server.metric("llmops_engine_running") == 0)
    assert server.chat(max_tokens=3)[0] == 200
    (gone,) = [r for r in server.requests() if r["status"] == 499]
    assert 0 < gone["completion_tokens"] < 1900


def test_the_queue_is_served_in_turn(serve: Serve) -> None:
    server = serve(LLMOPS_MAX_RUNNING="1", LLMOPS_MAX_QUEUE="1").wait_ready()
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool, server.stream(max_tokens=1900) as events:
        next(events)
        second = pool.submit(server.chat, max_tokens=5)
        until(lambda: server.metric("llmops_queue_length") == 1)
        assert server.chat()[0] == 429
        assert list(events)[-1] == "[DONE]"
        assert second.result()[0] == 200


def test_an_answer_that_takes_too_long_is_cut_in_words(serve: Serve) -> None:
    server = serve(LLMOPS_REQUEST_SECONDS="0.1").wait_ready()
    with server.stream(max_tokens=1900) as events:
        *_, last = events
    assert last["error"]["code"] == "timeout"
    assert server.chat(max_tokens=1900)[0] == 504
    until(lambda: server.metric("llmops_engine_running") == 0)


def test_sigterm_lets_streams_end(serve: Serve) -> None:
    server = serve().wait_ready()
    with server.stream(max_tokens=800) as events:
        next(events)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.ask("GET", "/ping")[0] == 503)
        assert server.chat(max_tokens=3)[0] == 200  # a router may not have noticed yet
        assert list(events)[-1] == "[DONE]"
    assert server.process.wait(120) == 0


@pytest.mark.scorecard("sigterm-streams")
def test_sigterm_cuts_what_takes_too_long_in_words(serve: Serve) -> None:
    server = serve(LLMOPS_DRAIN_SECONDS="0", LLMOPS_LAME_DUCK_SECONDS="0").wait_ready()
    with server.stream(max_tokens=1900) as events:
        next(events)
        server.process.send_signal(signal.SIGTERM)
        *_, last = events
    assert "stops" in last["error"]["message"]
    assert server.process.wait(120) == 0


def test_sigterm_while_it_starts_ends_it(serve: Serve) -> None:
    server = serve()
    until(lambda: server.port)
    engine = server.engine_pid()
    assert server.terminate() == 0
    assert not Path(f"/proc/{engine}").exists()


def test_an_idle_engine_sleeps(shared_server: ServingProcess) -> None:
    def ticks() -> int:
        fields = Path(f"/proc/{shared_server.engine_pid()}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def spent() -> int:
        before = ticks()
        time.sleep(1)
        return ticks() - before

    shared_server.chat(max_tokens=5)
    until(lambda: spent() < 20)  # of 100 a second and processor


def test_an_engine_asks_for_huge_pages(shared_server: ServingProcess) -> None:
    """Whether it gets them depends on how the machine's memory is divided: the kernel marks what was asked for."""
    mode = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not mode.exists() or "[madvise]" not in mode.read_text():
        pytest.skip("this machine's kernel gives huge pages to nobody, or to all unasked")
    marked, size = 0, 0
    for line in Path(f"/proc/{shared_server.engine_pid()}/smaps").read_text().splitlines():
        word, *rest = line.split()
        if word == "Size:":
            size = int(rest[0])
        elif word == "VmFlags:" and "hg" in rest:
            marked += size
    assert marked >= 2048  # kB
