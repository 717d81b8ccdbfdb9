"""What a script printed is kept while nothing changes that it was made from."""

from pathlib import Path

import pytest

from tests.support import kept
from tests.support.checkout import CHECKOUT

SCRIPT = CHECKOUT / "tests/emulated/training/programs/parts.py"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[object, ...]]:
    """An empty cache, and what was run since."""
    monkeypatch.setattr(kept, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.delenv(kept.AFRESH, raising=False)
    return []


def asked(ran: list[tuple[object, ...]], *arguments: object) -> object:
    def run(*command: object) -> list[int]:
        ran.append(command)
        return [len(ran)]

    return kept.kept_result(SCRIPT, *arguments, run=run)


def test_a_result_is_kept_for_arguments_of_equal_content(ran: list[tuple[object, ...]], tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows").write_text("a")
    assert asked(ran, tmp_path / "one", 3) == asked(ran, tmp_path / "two", 3) == [1]
    assert ran == [(SCRIPT, tmp_path / "one", 3)]
    assert asked(ran, tmp_path / "one", 4) == [2]
    (tmp_path / "two" / "rows").write_text("b")
    assert asked(ran, tmp_path / "two", 3) == [3]


def test_a_result_is_made_again_where_the_code_or_the_machine_changed(
    ran: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(ran) == [1]
    monkeypatch.setattr(kept, "_processor", lambda: "another one")
    assert asked(ran) == [2]
    monkeypatch.setattr(kept, "sources_key", lambda *_, **__: "another commit")
    assert asked(ran) == [3]


def test_everything_runs_again_where_that_is_asked_for(
    ran: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(ran) == [1]
    monkeypatch.setenv(kept.AFRESH, "1")
    assert asked(ran) == [2]
    monkeypatch.delenv(kept.AFRESH)
    assert asked(ran) == [2]


def test_nothing_is_kept_of_a_script_that_failed(ran: list[tuple[object, ...]]) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it failed")

    with pytest.raises(AssertionError, match="it failed"):
        kept.kept_result(SCRIPT, run=fail)
    assert asked(ran) == [1]
