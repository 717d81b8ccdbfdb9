"""Model data from a bucket: what an archive or a key may bring into an endpoint's folder."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_twins.aws import s3_objects
from llmops_twins.aws.judges.account import JudgedAccount
from llmops_twins.aws.sagemaker.fleet import data
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.fleet.cloud import ModelDataError
from llmops_twins.core.fleet.plan import ModelDataSource
from tests.support.hostile import everything

BUCKET = "data-of-fleet"


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[AccountTwin]:
    from moto.s3.models import s3_backends

    (tmp_path / "twin").mkdir()
    twin = AccountTwin(tmp_path / "twin")
    account = JudgedAccount(twin)
    backend = s3_backends[account.id][account.partition]
    backend.create_bucket(BUCKET, "us-east-1")
    yield twin
    for each in list(backend.buckets[BUCKET].keys.values()):
        each.dispose()
    backend.buckets[BUCKET].keys.clear()
    backend.delete_bucket(BUCKET)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "endpoint" / "data" / "0"
    folder.mkdir(parents=True)
    return folder


def put(twin: AccountTwin, tmp_path: Path, key: str, content: bytes) -> None:
    (tmp_path / "body").write_bytes(content)
    s3_objects.upload(twin, tmp_path / "body", s3_objects.S3Location(BUCKET, key))
    (tmp_path / "body").unlink()


def packed(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for info in members:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def source(key: str) -> ModelDataSource:
    return ModelDataSource(uri=f"s3://data-of-fleet/{key}", archive=True, path="/opt/ml/model")


def test_an_archive_is_unpacked_where_it_lies(twin: AccountTwin, target: Path, tmp_path: Path) -> None:
    put(twin, tmp_path, "m/model.tar.gz", packed(member("deep/w.bin", 3), member("./config.json", 2)))
    data.fetch(twin, source("m/model.tar.gz"), target)
    assert everything(target) == {"deep": None, "deep/w.bin": bytes(3), "config.json": bytes(2)}
    assert everything(target.parent).keys() == {"0", "0/deep", "0/deep/w.bin", "0/config.json"}


@pytest.mark.vulnerability(4)
@pytest.mark.cve("archives")
@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([member("a", kind=tarfile.SYMTYPE, link="b"), member("b", 1)], "a symbolic link"),
        ([member("a", 1), member("b", kind=tarfile.LNKTYPE, link="a")], "a hard link"),
        ([member("../b", 1)], r"a part '\.\.'"),
        ([member("zeros", 100 << 20)], "too large when unpacked"),
    ],
)
def test_vulnerability_4_an_archive_that_brings_more_than_files_starts_nothing(
    twin: AccountTwin, target: Path, tmp_path: Path, members: list[tarfile.TarInfo], words: str
) -> None:
    put(twin, tmp_path, "m/model.tar.gz", packed(*members))
    before = everything(tmp_path, but=tmp_path / "twin")
    with pytest.raises(ModelDataError, match=f"^s3://data-of-fleet/m/model.tar.gz: .*{words}"):
        data.fetch(twin, source("m/model.tar.gz"), target)
    assert everything(tmp_path, but=tmp_path / "twin") == before


def test_archives_do_not_write_over_each_other(twin: AccountTwin, target: Path, tmp_path: Path) -> None:
    for name in ("1.tar.gz", "2.tar.gz"):
        put(twin, tmp_path, f"m/{name}", packed(member("a", 1)))
    with pytest.raises(ModelDataError, match="two archives hold a"):
        data.fetch(twin, source("m/"), target)


@pytest.mark.vulnerability(1)
@pytest.mark.parametrize("key", ["m//root/.bashrc", "m/../b", "m/a/./b", "m/C:/a", "m/a\x1b[2J"])
def test_vulnerability_1_keys_that_can_be_no_file_are_refused(
    twin: AccountTwin, target: Path, tmp_path: Path, key: str
) -> None:
    put(twin, tmp_path, key, b"owned")
    with pytest.raises(ModelDataError, match="can't be a file below a folder"):
        data.fetch(twin, ModelDataSource(uri="s3://data-of-fleet/m/", path="/opt/ml/model"), target)
    assert list(target.iterdir()) == []
