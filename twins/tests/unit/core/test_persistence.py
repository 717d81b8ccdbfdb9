"""How a twin's files are replaced."""

from pathlib import Path

from twins.core import persistence


def test_a_file_is_replaced_as_a_whole_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "state"
    for content in (b"old", b"new"):
        persistence.replace_file(file, content)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
