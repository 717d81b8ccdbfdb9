"""Where two recordings differ, and where they only have other values."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmops_kit.cli.cli import app
from llmops_kit.cli.platforms.exchanges import Recorder
from llmops_kit.cli.rehearsal.smoke.recordings import differences, read, write
from llmops_kit.core.errors import KitError


def exchange(
    call: str = "sagemaker DescribeEndpoint", status: int = 200, code: str = "", **answer: Any
) -> dict[str, Any]:
    return {"step": "serve", "call": call, "request": {}, "status": status, "code": code, "answer": answer, "times": 1}


def test_other_values_are_no_difference() -> None:
    cloud = [exchange(Name="~1", Count=1, Made="~time", Tags={"~a": "~b"}, Items=[{"Id": "~1"}])]
    twin = [exchange(Name="~2", Count=7, Made="~time", Tags={"~c": "~d"}, Items=[{"Id": "~3"}, {"Id": "~4"}])]
    assert differences(cloud, twin) == []


@pytest.mark.parametrize(
    ("cloud", "twin", "lines"),
    [
        (
            [exchange(A=1), exchange(status=400, code="ValidationException")],
            [exchange(A=1), exchange(status=404, code="ResourceNotFound")],
            [
                "sagemaker DescribeEndpoint: 400 ValidationException on the cloud, never on the twin",
                "sagemaker DescribeEndpoint: never on the cloud, 404 ResourceNotFound on the twin",
            ],
        ),
        (
            [exchange(A={"B": {"C": 1}}, L=[{"X": 1}])],
            [exchange(A={}, L=[{"X": 1, "Y": 1}])],
            [
                "sagemaker DescribeEndpoint: A.B: there on the cloud, missing on the twin",
                "sagemaker DescribeEndpoint: L[].Y: missing on the cloud, there on the twin",
            ],
        ),
        (
            [exchange(A=1, T="~time")],
            [exchange(A="~1", T="~time")],
            ["sagemaker DescribeEndpoint: A: number on the cloud, text on the twin"],
        ),
        (
            [exchange(A=1), exchange("kms Sign")],
            [exchange(A=1), exchange("kms Encrypt")],
            [
                "kms Encrypt: not asked on the cloud, asked on the twin",
                "kms Sign: asked on the cloud, not asked on the twin",
            ],
        ),
        ([exchange(L=[{"X": 1}])], [exchange(L=[])], []),  # nothing is known of what an empty list would hold
        ([exchange(A=1), exchange()], [exchange()], []),  # now and then there
        ([exchange(A=None)], [exchange(A="~1")], []),
    ],
)
def test_statuses_codes_and_members_are_compared(cloud: list[Any], twin: list[Any], lines: list[str]) -> None:
    assert [each.line for each in differences(cloud, twin)] == lines


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": "smoke/1"}', '{"schema": "smoke-recording/1", "target": "azure", "exchanges": []}',
     '{"schema": "smoke-recording/1", "target": "aws", "exchanges": [{"call": 1, "status": 2}]}'],
)  # fmt: skip
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "aws.json"
    path.write_text(text)
    with pytest.raises(KitError) as refused:
        read(path, "aws")
    assert refused.value.where == str(path)
    assert "llmops smoke aws --record" in refused.value.fix


def test_a_strangers_recording_moves_no_cursor_and_is_not_followed_without_end(tmp_path: Path) -> None:
    (line,) = [each.line for each in differences([exchange("kms \x1b[2J\nSign")], [])]
    assert line.startswith("kms \\u001b[2J Sign: asked")
    path = tmp_path / "aws.json"
    for depth in (60, 100_000):
        deep = exchange(A="here")
        text = json.dumps({"schema": "smoke-recording/1", "target": "aws", "exchanges": [deep]})
        path.write_text(text.replace('"here"', "[" * depth + "]" * depth))
        with pytest.raises(KitError) as refused:
            read(path, "aws")
        assert refused.value.where == str(path)


def test_replay_prints_where_they_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    for name, answer in {"cloud": {"A": 1}, "twin": {"B": 1}}.items():
        recorder = Recorder(tmp_path / name)
        recorder.begin("serve")
        recorder.add("kms Sign", {}, 200, "", answer)
        write(tmp_path / f"{name}.json", "aws", name == "twin", tmp_path / name)
    words = ["twin", "replay", "aws", "cloud.json", "--against"]
    same = CliRunner().invoke(app, [*words, "cloud.json"])
    assert (same.exit_code, same.stdout) == (0, "no differences\n")
    done = CliRunner().invoke(app, [*words, "twin.json"])
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "kms Sign: A: there on the cloud, missing on the twin",
        "kms Sign: B: missing on the cloud, there on the twin",
        "2 differences",
    ]
    rows = CliRunner().invoke(app, [*words, "twin.json", "--json"])
    assert json.loads(rows.stdout)[0] == {
        "call": "kms Sign", "kind": "field", "path": "A", "cloud": "there", "twin": "missing"
    }  # fmt: skip
