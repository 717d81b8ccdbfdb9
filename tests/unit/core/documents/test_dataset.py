"""The files that a manifest lists."""

import json

import pytest

from llmops_kit.core.documents.dataset import DatasetManifest, files_of
from llmops_kit.core.errors import DocumentError, IntegrityError

ENTRY = {"sha256": "0" * 64, "size": 1}


def manifest(files: str) -> str:
    head = '"schema": "dataset/1", "name": "data", "sources": [], "rows": {}'
    return f'{{{head}, "files": {files}}}'


def test_files_are_read_from_any_manifest() -> None:
    found = files_of(manifest(json.dumps({"a": ENTRY, "b/c": ENTRY})).encode(), "here")
    assert list(found) == ["a", "b/c"]


@pytest.mark.vulnerability(1)
@pytest.mark.parametrize(
    ("files", "words"),
    [
        (f'{{"a": {json.dumps(ENTRY)}, "a": {json.dumps(ENTRY)}}}', "names 'a' twice"),
        (json.dumps({"a": ENTRY, "a/b": ENTRY}), "the name 'a' is a file and, for 'a/b', a folder"),
        (json.dumps({"a/": ENTRY}), "has an empty part"),
        (json.dumps({"../a": ENTRY}), "has a part '..'"),
        (json.dumps({"/root/.bashrc": ENTRY}), "is absolute"),
        (json.dumps({"a//b": ENTRY}), "has an empty part"),
        (json.dumps({"a\0b": ENTRY}), "a control character"),
        (json.dumps({"a\x7fb": ENTRY}, ensure_ascii=False), "a control character"),
        (json.dumps({"a\x1b[2J": ENTRY}), "a control character"),
        (json.dumps({"n" * 5000: ENTRY}), "has 5000 bytes"),
        (json.dumps({"manifest.json": ENTRY}), "lists manifest.json"),
        (json.dumps({"manifest.json.sig": ENTRY}), "lists manifest.json.sig"),
        ("[" * 100_000 + "]" * 100_000, "is nested too deeply"),
        (json.dumps({"a": {"sha256": "0" * 64, "size": -1}}), "must be at least 0"),
        (json.dumps({"a": {**ENTRY, "parts": ["0" * 64]}}), "lists 1 parts, but 1 bytes have 0"),
        (json.dumps({"a": {**ENTRY, "size": (1 << 30) + 1, "parts": ["0" * 64]}}), "bytes have 3"),
    ],
)
def test_vulnerability_1_a_manifest_that_names_what_it_may_not_is_refused(files: str, words: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        files_of(manifest(files).encode(), "s3://bucket/manifest.json")
    assert words in caught.value.what
    assert caught.value.where.startswith("s3://bucket/manifest.json")
    assert caught.value.fix
    with pytest.raises(DocumentError) as refused:
        DatasetManifest.parse(manifest(files), where="manifest.json")
    assert words in str(refused.value)
    for text in (str(caught.value), str(refused.value)):
        assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b'{"files": 3}', b"{}", b"null"])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityError):
        files_of(content, "here")
    with pytest.raises(DocumentError):
        DatasetManifest.parse(content, where="here")
