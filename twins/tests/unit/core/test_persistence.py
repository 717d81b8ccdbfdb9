"""How soon a twin's changes are in its files."""

from llmops_twins.core import persistence


def test_a_change_is_written_the_sooner_the_less_work_a_writing_is_and_within_seconds() -> None:
    assert persistence.rest(0.0) == persistence.DEBOUNCE_SECONDS
    assert persistence.DEBOUNCE_SECONDS < persistence.rest(0.5) < persistence.rest(0.9) < persistence.SELDOM_SECONDS
    assert persistence.rest(60.0) == persistence.SELDOM_SECONDS
