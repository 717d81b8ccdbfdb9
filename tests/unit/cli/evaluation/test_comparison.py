"""Two versions on the rows that both were asked, from the answers that their runs recorded."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import typer

from llmops_kit.cli.commands.evaluate import evaluate
from llmops_kit.cli.evaluation.models import production
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import plan_run
from llmops_kit.core.documents.outputs import EndpointOutput
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.names import ModelRef
from tests.support.servers import http_servers
from tests.support.tiny_models.versions import write_output
from tests.unit.cli.runs.test_runs import deploy, write_recipe


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalPlatform:
    """chatbot@1, whose answers are all wrong, and chatbot@2, whose are right."""
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    platform = deploy(tmp_path, "")
    for right in (False, True):
        spec = plan_run(platform, write_recipe(tmp_path), lambda _: None).spec
        write_output(tmp_path / spec.id, spec, platform.store(), right=right)
        platform.store().put_model(tmp_path / spec.id, platform.sign)
    return platform


def serving(platform: LocalPlatform, **versions: ModelRef) -> None:
    """Make the stack's outputs those of endpoints that were deployed."""
    endpoints = {
        name: EndpointOutput(url="http://127.0.0.1:9", model=str(ref), sha256=ref.sha256, image="")
        for name, ref in versions.items()
    }
    platform.outputs = platform.outputs.model_copy(update={"endpoints": endpoints})


def run(platform: LocalPlatform, cwd: Path, model: str, **options: Any) -> None:
    context: Any = SimpleNamespace(obj=SimpleNamespace(platform=platform, cwd=cwd))
    evaluate(context, model, **{"as_json": True, **options})


def test_recorded_answers_are_compared_row_by_row_and_held_against_the_gate(
    platform: LocalPlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serving(platform, assistant=platform.store().find("chatbot@1"))
    run(platform, tmp_path, "chatbot@latest", gate=True, page=Path("page.html"))
    found = json.loads(capsys.readouterr().out)
    (suite,) = found["suites"]
    assert (found["model"], found["against"], found["gate"]["passed"]) == ("chatbot@2", "chatbot@1", True)
    assert (suite["score"]["value"], suite["against"]["value"], suite["difference"]["value"]) == (1.0, 0.0, 1.0)
    assert suite["answers"] == {"model": "recorded", "against": "recorded"}
    assert suite["rows"][0]["before"] == "I do not know."
    page = (tmp_path / "page.html").read_text()
    assert "<h1>chatbot@2 against chatbot@1</h1>" in page
    assert page.count("<tr") > 32

    with pytest.raises(typer.Exit) as ended:
        run(platform, tmp_path, "chatbot@1", against="chatbot@2", gate=True, as_json=False)
    assert ended.value.exit_code == 3
    out = capsys.readouterr().out
    assert "gate: not passed" in out
    columns = ["chatbot@2", "chatbot@1", "difference"]  # as on the page: the other one, the model, its difference
    assert out.splitlines()[0].split()[2:5] == columns
    run(platform, tmp_path, "chatbot@1", against="chatbot@2", page=Path("page.html"))
    page = (tmp_path / "page.html").read_text()
    assert re.findall("<th[^>]*>([^<]*)", page)[1:4] == columns


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"against": "chatbot@2"}, "can't be compared with itself"),
        ({}, "no endpoint serves chatbot yet"),
        ({"against": "chatbot@1", "suite": ["others"]}, "there is no suite others"),
        ({"against": "folder"}, "folder is neither a version nor a folder"),
        ({"against": "chatbot@9"}, "chatbot@9 is not in the store"),
        ({"against": "http://models.example.com/v1"}, "would be sent prompts and key unencrypted"),
    ],
)
def test_what_can_not_be_compared_is_refused(
    platform: LocalPlatform, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(KitError, match=words) as caught:
        run(platform, tmp_path, "chatbot@2", **options)
    assert caught.value.fix


def test_production_is_the_endpoint_that_serves_the_name(platform: LocalPlatform) -> None:
    first, second = (platform.store().find(f"chatbot@{n}") for n in (1, 2))
    assert production(platform, "chatbot") is None
    serving(platform, chatbot=platform.store().find("tiny@1"), assistant=first)
    assert production(platform, "chatbot") == first
    assert production(platform, "other") is None
    assert production(platform, "chatbot", "new") is None
    serving(platform, chatbot=second, assistant=first)
    with pytest.raises(KitError, match="several endpoints serve chatbot"):
        production(platform, "chatbot")
    with pytest.raises(KitError, match="several endpoints serve versions"):
        production(platform, "")
    assert production(platform, "chatbot", "assistant") == first


def test_imported_models_have_no_suites_of_their_own(platform: LocalPlatform, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(NotFoundError, match="records the suites") as caught:
        run(platform, tmp_path, "tiny@1", against="folder")
    assert "--recipe" in caught.value.fix


class _Endpoint(BaseHTTPRequestHandler):
    """Says the number that it was asked about; keeps what it was sent."""

    asked: ClassVar[list[dict[str, Any]]] = []
    keys: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.asked:  # busy at first
            self.asked.append(request)
            self.send_response(429)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.asked.append(request)
        self.keys.add(self.headers["Authorization"])
        number = "".join(filter(str.isdigit, request["messages"][-1]["content"]))
        reply = {"choices": [{"message": {"role": "assistant", "content": f"alpha{number}"}}]}
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


def test_an_endpoint_is_asked_with_its_key_and_the_rows_messages(
    platform: LocalPlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k1")
    with http_servers.serving(ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)) as server:
        url = f"http://127.0.0.1:{server.server_port}/v1#big"
        run(platform, tmp_path, "chatbot@1", against=url)
    (suite,) = json.loads(capsys.readouterr().out)["suites"]
    assert (suite["against"]["value"], suite["answers"]["against"]) == (1.0, "endpoint")
    assert _Endpoint.keys == {"Bearer k1"}
    assert {(r["model"], r["temperature"], r["max_tokens"], len(r["messages"])) for r in _Endpoint.asked} == {
        ("big", 0, 64, 1)
    }
    assert len(_Endpoint.asked) == 33
