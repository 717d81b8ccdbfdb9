"""Sources of this machine: globs, folders, archives; incremental, resumed, and nothing else touched."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from llmops_kit.cli.data.collect import collect, require_collected, source_folder
from llmops_kit.cli.data.items import Partial
from llmops_kit.core.documents.collected import RECEIPTS
from llmops_kit.core.documents.recipe_data import DataSource
from llmops_kit.core.errors import DataError, IntegrityError, KitError, UnsupportedError
from tests.support.runs.collecting import collected, contents


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A recipe's folder, beside which there is something else."""
    for name in ("logs/1.jsonl", "logs/deep/2.jsonl", "logs/3.csv", "logs/notes.docx"):
        path = tmp_path / "recipes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"text": "{name}"}}\n\n')
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "mine.jsonl").write_text("{}\n")
    return tmp_path / "recipes"


def test_files_are_copied_with_receipts(home: Path, tmp_path: Path) -> None:
    source = DataSource(source="logs/*.jsonl", licence="MIT")
    found = collected(home, tmp_path / "out", source, "logs/3.csv")
    assert list(contents(found)) == ["logs/3.csv", "logs/1.jsonl"]
    receipt = found.files[1]
    content = (home / "logs/1.jsonl").read_bytes()
    assert receipt.path == f"{source_folder(source)}/logs/1.jsonl"
    assert (receipt.source, receipt.licence, receipt.rows) == ("logs/*.jsonl", "MIT", 1)
    assert (receipt.bytes, receipt.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert found.files[0].rows is None
    assert found.fetched == 2


def test_what_was_collected_is_taken_as_it_is(home: Path, tmp_path: Path) -> None:
    """Without a look at its source; not what was never collected, or changed since."""
    source, other = DataSource(source="logs/1.jsonl"), DataSource(source="logs/3.csv")
    found = collected(home, tmp_path / "out", source)
    (home / "logs/1.jsonl").unlink()
    require_collected([source], tmp_path / "out")
    with pytest.raises(KitError, match=r"logs/3\.csv was not collected"):
        require_collected([source, other], tmp_path / "out")
    (tmp_path / "out" / found.files[0].path).write_text("other\n")
    with pytest.raises(KitError, match=r"logs/1\.jsonl was changed"):
        require_collected([source], tmp_path / "out")


def test_globs(home: Path, tmp_path: Path) -> None:
    assert list(contents(collected(home, tmp_path / "a", "logs/**/*.jsonl"))) == ["logs/1.jsonl", "logs/deep/2.jsonl"]
    (home / "logs/[1].jsonl").write_text("{}")
    assert list(contents(collected(home, tmp_path / "b", "logs/[1].jsonl"))) == ["logs/[1].jsonl"]
    assert list(contents(collected(home, tmp_path / "c", "folder:../outside"))) == ["mine.jsonl"]
    source = DataSource(source="folder:logs", files="**/2.*")
    assert list(contents(collected(home, tmp_path / "d", source))) == ["deep/2.jsonl"]
    everything = contents(collected(home, tmp_path / "e", "folder:logs"))
    assert everything.keys() == {"1.jsonl", "3.csv", "[1].jsonl", "deep/2.jsonl"}


@pytest.mark.parametrize(
    "source",
    [
        "logs/none.jsonl",
        "none/*.jsonl",
        "logs",
        "logs/*",
        "logs/notes.docx",
        "../outside/mine.jsonl",
        "../outside/*.jsonl",
        "/etc/*.conf",
        "folder:none",
        "gs://bucket/*.jsonl",
        "http://host/a.jsonl",
        "package:django",
        "package:django @ https://host/x.whl",
        "package:--index-url==1",
        "https://user:hunter2@host/a.jsonl",
        "https://host/a.exe",
    ],
)
def test_what_can_not_be_meant_is_refused(home: Path, tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError) as e:
        collected(home, tmp_path / "out", "logs/3.csv", source)
    assert e.value.where.startswith("data.sources.1")
    assert e.value.fix
    assert "hunter2" not in str(e.value)


def test_twice_the_same_source_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        collected(home, tmp_path / "out", "logs/3.csv", "logs/3.csv")


def test_traffic_is_not_recorded_yet(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        collected(home, tmp_path / "out", "capture:chat")


def test_links_that_lead_out_are_refused(home: Path, tmp_path: Path) -> None:
    (home / "logs/link.jsonl").symlink_to(tmp_path / "outside/mine.jsonl")
    (home / "linked").symlink_to(tmp_path / "outside")
    for source in ("logs/*.jsonl", "logs/link.jsonl", "linked/mine.jsonl", "folder:logs"):
        with pytest.raises(DataError):
            collected(home, tmp_path / "out", source)


def test_a_second_collect_reads_nothing_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = collected(home, tmp_path / "out", "logs/**/*.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(Partial, "fill", lambda *_: pytest.fail("it was read again"))
        second = collected(home, tmp_path / "out", "logs/**/*.jsonl")
    assert (second.fetched, second.files) == (0, first.files)


def test_what_changed_is_fetched_and_what_is_gone_is_removed(home: Path, tmp_path: Path) -> None:
    collected(home, tmp_path / "out", "logs/**/*.jsonl", "logs/3.csv")
    (home / "logs/1.jsonl").write_text("{}\n{}\n")
    (home / "logs/deep/2.jsonl").unlink()
    found = collected(home, tmp_path / "out", DataSource(source="logs/**/*.jsonl", licence="MIT"))
    assert contents(found) == {"logs/1.jsonl": b"{}\n{}\n"}
    assert (found.fetched, found.files[0].licence) == (1, "MIT")


def test_a_copy_that_somebody_wrote_is_fetched_again(home: Path, tmp_path: Path) -> None:
    found = collected(home, tmp_path / "out", "logs/**/*.jsonl")
    path = tmp_path / "out" / found.files[0].path
    for change in ("write", "remove", "link"):
        good = path.read_bytes()
        path.unlink()
        if change == "write":
            path.write_bytes(good.upper())
        elif change == "link":
            path.symlink_to(tmp_path / "outside/mine.jsonl")
        again = collected(home, tmp_path / "out", "logs/**/*.jsonl")
        assert (again.fetched, path.read_bytes(), path.is_symlink()) == (1, good, False)
    assert (tmp_path / "outside/mine.jsonl").read_text() == "{}\n"


def test_a_folder_of_somebody_else_is_left_alone(home: Path, tmp_path: Path) -> None:
    with pytest.raises(KitError):
        collected(home, tmp_path / "outside", "logs/3.csv")
    assert (tmp_path / "outside/mine.jsonl").exists()


def test_one_collect_at_a_time(home: Path, tmp_path: Path) -> None:
    def say(_: str) -> None:
        pass

    def secret(_: str) -> str:
        with pytest.raises(KitError):
            collected(home, tmp_path / "out", "logs/3.csv")
        raise KeyboardInterrupt

    source = DataSource(source="https://localhost/a.csv", token="secret:name")
    with pytest.raises(KeyboardInterrupt):
        collect([source], home, tmp_path / "out", secret=secret, say=say)
    collected(home, tmp_path / "out", "logs/3.csv")


def pack_tar(path: Path, mode: str, members: dict[str, bytes], link: str = "") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo("link.jsonl")
            info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)
    return path


def pack(path: Path, members: dict[str, bytes]) -> Path:
    """An archive of a kind that the name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in members.items():
                opened.writestr(name, content)
        return path
    if path.suffix == ".zst":
        plain = pack_tar(path.with_suffix(""), "w", members)
        path.write_bytes(zstandard.ZstdCompressor().compress(plain.read_bytes()))
        plain.unlink()
        return path
    return pack_tar(path, "w" if path.suffix == ".tar" else "w:gz", members)


MEMBERS = {"de/a.po": b'msgid "a"', "fr/a.po": b'msgid "b"', "code.py": b"x", "rows.jsonl": b"{}\n{}\n"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"])
def test_archives(home: Path, tmp_path: Path, name: str) -> None:
    pack(home / name, MEMBERS)
    found = collected(home, tmp_path / "out", name)
    assert contents(found) == {f"{name}/{m}": c for m, c in MEMBERS.items() if m != "code.py"}
    assert [(each.member, each.rows) for each in found.files] == [
        *(("de/a.po", None), ("fr/a.po", None), ("rows.jsonl", 2))
    ]
    assert collected(home, tmp_path / "out", name).fetched == 0
    chosen = DataSource(source=name, files="de/*.po")
    assert contents(collected(home, tmp_path / "out", chosen)) == {f"{name}/de/a.po": b'msgid "a"'}
    pack(home / name, {"rows.jsonl": b"{}\n"})
    assert contents(collected(home, tmp_path / "out", name)) == {f"{name}/rows.jsonl": b"{}\n"}
    for files in ("none/**", "*.py"):
        with pytest.raises(DataError):
            collected(home, tmp_path / "out", DataSource(source=name, files=files))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.zst"])
def test_hostile_archives_leave_nothing(home: Path, tmp_path: Path, name: str) -> None:
    pack(home / name, {"good.jsonl": b"{}", "../../outside/mine.jsonl": b"theirs"})
    with pytest.raises(IntegrityError):
        collected(home, tmp_path / "out", name)
    pack(home / name, {"good.jsonl": b"{}", "big.jsonl": b"x" * 5000})
    with pytest.raises((IntegrityError, DataError)):
        collected(home, tmp_path / "out", name, file=8000 if name == "a.tar" else 4000)
    (home / name).write_bytes((home / name).read_bytes()[:40])
    with pytest.raises((IntegrityError, DataError)):
        collected(home, tmp_path / "out", name)
    assert (tmp_path / "outside/mine.jsonl").read_text() == "{}\n"
    assert not list((tmp_path / "out").rglob("good.jsonl"))


def test_a_link_in_a_tar_is_refused(home: Path, tmp_path: Path) -> None:
    pack_tar(home / "a.tar", "w", {"good.jsonl": b"{}"}, link="/etc/passwd")
    with pytest.raises(IntegrityError):
        collected(home, tmp_path / "out", "a.tar")


def test_files_without_an_archive_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        collected(home, tmp_path / "out", DataSource(source="logs/3.csv", files="*.csv"))


def test_rows_of_parquet_are_counted(home: Path, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b", "c"]}), home / "good.parquet")
    (home / "bad.parquet").write_bytes(b"PAR1")
    assert [each.rows for each in collected(home, tmp_path / "out", "*.parquet").files] == [None, 3]


def test_too_much_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        collected(home, tmp_path / "out", "logs/3.csv", file=5)
    with pytest.raises(DataError):
        collected(home, tmp_path / "out", "logs/**/*.jsonl", files=1)


def test_a_partial_file_is_gone_on_with_only_for_its_revision(tmp_path: Path) -> None:
    stop = threading.Event()
    partial = Partial(tmp_path / "w/a", "where", 100, stop)
    assert partial.resumable("1") == 0
    with pytest.raises(OSError, match="cut"):
        partial.fill(_cut_off(b"abc"), "1")
    assert (partial.resumable("1"), partial.resumable("2"), partial.resumable("")) == (3, 0, 0)
    partial.fill([b"def"], "1", 3)
    assert partial.path.read_bytes() == b"abcdef"
    partial.fill([b"xy"], "2")
    assert (partial.path.read_bytes(), partial.revision) == (b"xy", "2")


def _cut_off(first: bytes):
    yield first
    raise OSError("cut")


def test_the_journal_keeps_what_was_fetched_before_an_error(home: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        collected(home, tmp_path / "out", "logs/**/*.jsonl", "none.csv")
    assert not (tmp_path / "out" / RECEIPTS).exists()
    journal = tmp_path / "out/.journal.jsonl"
    with journal.open("a") as file:
        file.write(journal.read_text()[:50])  # killed while it wrote
    with pytest.raises(DataError):
        collected(home, tmp_path / "out", "logs/**/*.jsonl", "logs/3.csv", "none.csv")
    found = collected(home, tmp_path / "out", "logs/**/*.jsonl", "logs/3.csv")
    assert (found.fetched, len(found.files)) == (0, 3)


def test_a_named_pipe_is_refused(home: Path, tmp_path: Path) -> None:
    os.mkfifo(home / "logs/pipe.jsonl")
    with pytest.raises(DataError):
        collected(home, tmp_path / "out", "logs/*.jsonl")
