"""A file of an unsigned version is read once, and is what the manifest lists or is refused."""

from pathlib import Path

import pytest

from llmops_kit.cli.store.versions import FolderVersion
from llmops_kit.core.documents.dataset import FileEntry
from llmops_kit.core.errors import IntegrityError
from llmops_kit.core.hashes import sha256_bytes

NAME, CONTENT = "evaluation.json", b'{"passed": false}'
ENTRY = FileEntry(sha256=sha256_bytes(CONTENT), size=len(CONTENT))


def test_a_listed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    assert FolderVersion(tmp_path).document(NAME, ENTRY) == CONTENT


@pytest.mark.vulnerability(5)
@pytest.mark.parametrize("content", [b'{"passed": true }', CONTENT + b" ", CONTENT[:-1], b""])
def test_vulnerability_5_a_file_of_other_content_or_size_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        FolderVersion(tmp_path).document(NAME, ENTRY)
    assert caught.value.where == f"{tmp_path}/{NAME}"
