"""docs/reference.md says what the models say."""

from tools import reference


def test_the_page_is_current() -> None:
    assert reference.FILE.read_text() == reference.render(), "run `python -m tools.reference`"


def test_every_setting_has_a_row() -> None:
    page = reference.render()
    for key in ("target", "local_runtime", "endpoints.<name>.model", "endpoints.<name>.rollout.bake_seconds"):
        assert f"| `{key}` |" in page
