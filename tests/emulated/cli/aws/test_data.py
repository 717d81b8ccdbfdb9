"""Data in a bucket, with the credentials of this shell."""

import uuid
from pathlib import Path

import pytest

from llmops_kit.cli.data.items import Partial
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.core.errors import DataError, IntegrityError, KitError
from tests.support.runs.collecting import collected, contents


@pytest.fixture
def bucket(clients: AwsClients) -> str:
    name = f"data-{uuid.uuid4().hex[:8]}"
    clients("s3").create_bucket(Bucket=name)
    for key in ("chats/", "chats/1.jsonl", "chats/deep/größe 2.jsonl", "chats/3.csv", "chats/x.pkl", "other.jsonl"):
        clients("s3").put_object(
            Bucket=name, Key=key, Body=b"" if key.endswith("/") else f'{{"k": "{key}"}}\n'.encode()
        )
    return name


def test_objects_of_a_glob(clients: AwsClients, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"s3://{bucket}/chats/**/*.jsonl"
    found = collected(tmp_path, tmp_path / "out", source)
    keys = ["1.jsonl", "deep/größe 2.jsonl"]
    assert contents(found) == {key: f'{{"k": "chats/{key}"}}\n'.encode() for key in keys}
    assert [each.url for each in found.files] == [f"s3://{bucket}/chats/{key}" for key in keys]
    with monkeypatch.context() as patch:
        patch.setattr(Partial, "fill", lambda *_: pytest.fail("it was read again"))
        assert collected(tmp_path, tmp_path / "out", source).files == found.files
    clients("s3").put_object(Bucket=bucket, Key="chats/1.jsonl", Body=b"{}\n")
    again = collected(tmp_path, tmp_path / "out", source)
    assert (again.fetched, contents(again)["1.jsonl"]) == (1, b"{}\n")


def test_a_folder_and_one_object(bucket: str, tmp_path: Path) -> None:
    everything = contents(collected(tmp_path, tmp_path / "a", f"s3://{bucket}/chats/"))
    assert everything.keys() == {"1.jsonl", "deep/größe 2.jsonl", "3.csv"}
    assert list(contents(collected(tmp_path, tmp_path / "b", f"s3://{bucket}/chats/3.csv"))) == ["3.csv"]


def test_what_is_not_there_or_unknown_is_refused(bucket: str, tmp_path: Path) -> None:
    for glob in ("chats/*.parquet", "chats/*", "chats/none.csv", "none/"):
        with pytest.raises(DataError):
            collected(tmp_path, tmp_path / "out", f"s3://{bucket}/{glob}")
    with pytest.raises(KitError) as e:
        collected(tmp_path, tmp_path / "out", "s3://no-such-bucket-at-all/*.csv")
    assert e.value.where.startswith("data.sources.0: s3://no-such-bucket")


def test_keys_that_lead_out_are_refused(clients: AwsClients, bucket: str, tmp_path: Path) -> None:
    clients("s3").put_object(Bucket=bucket, Key="chats/../../x.jsonl", Body=b"{}")
    with pytest.raises(IntegrityError):
        collected(tmp_path, tmp_path / "out", f"s3://{bucket}/chats/**/*.jsonl")
    assert not list(tmp_path.rglob("x.jsonl"))


def test_a_large_object_is_resumed(
    clients: AwsClients, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, written = bytes(range(256)) * 20_000, []
    clients("s3").put_object(Bucket=bucket, Key="big.txt", Body=content)
    fill = Partial.fill

    def stop_in_the_middle(partial: Partial, pieces, revision: str, start: int = 0) -> None:
        written.append(start)
        fill(partial, _first_two(pieces) if len(written) == 1 else pieces, revision, start)

    monkeypatch.setattr(Partial, "fill", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        collected(tmp_path, tmp_path / "out", f"s3://{bucket}/big.txt")
    assert contents(collected(tmp_path, tmp_path / "out", f"s3://{bucket}/big.txt")) == {"big.txt": content}
    assert written == [0, 2 << 20]


def _first_two(pieces):
    for number, piece in enumerate(pieces):
        if number == 2:
            raise KeyboardInterrupt
        yield piece
