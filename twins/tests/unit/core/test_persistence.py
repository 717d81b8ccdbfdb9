"""How a twin's files are replaced, and how soon its changes are in them."""

from pathlib import Path

from twins.core import persistence


def test_a_file_is_replaced_as_a_whole_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "state"
    for content in (b"old", b"new"):
        persistence.replace_file(file, content)
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_change_is_written_the_sooner_the_less_work_a_writing_is_and_within_seconds() -> None:
    assert persistence.rest(0.0) == persistence.DEBOUNCE_SECONDS
    assert persistence.DEBOUNCE_SECONDS < persistence.rest(0.5) < persistence.rest(0.9) < persistence.SELDOM_SECONDS
    assert persistence.rest(60.0) == persistence.SELDOM_SECONDS
