from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.deploying.promotion import promote, rollback
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.core.documents.store import Alias
from llmops_kit.core.errors import IntegrityError, KitError, RefusedError, SignatureError
from llmops_kit.core.layout import alias_key
from llmops_kit.core.names import ModelRef
from tests.support.tiny_models.versions import write_version
from tests.unit.cli.conftest import make_platform

MakeVersion = Callable[..., Path]


@pytest.fixture
def versions(platform: LocalPlatform, make_version: MakeVersion) -> list[ModelRef]:
    """chatbot@1 to chatbot@3, all of which passed."""
    return [platform.store().put_model(make_version(weights=f"w{i}"), platform.sign) for i in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text("config:\n  llmops:target: local # here\n")
    return path


def model_of(path: Path, endpoint: str = "chatbot") -> str:
    return StackFile(path).promoted()[endpoint].model.partition("@sha256")[0]


def test_promote_makes_the_endpoint_then_changes_one_line(
    platform: LocalPlatform, versions: list[ModelRef], path: Path
) -> None:
    promote(platform, StackFile(path), "chatbot@1")
    before = path.read_text().splitlines()
    change = promote(platform, StackFile(path), "chatbot@latest")
    after = path.read_text().splitlines()

    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [
        (f"      model: {versions[0]}", f"      model: {versions[2]}")
    ]
    assert change.diff.count("\n+      model:") == 1
    assert promote(platform, StackFile(path), "chatbot@3").diff == ""


def test_promote_goes_to_the_endpoint_that_serves_the_name(
    platform: LocalPlatform, versions: list[ModelRef], path: Path
) -> None:
    promote(platform, StackFile(path), "chatbot@1", endpoint="assistant")
    assert promote(platform, StackFile(path), "chatbot@2").endpoint == "assistant"
    assert list(StackFile(path).promoted()) == ["assistant"]


def test_a_version_without_openvinos_form_is_promoted_with_the_way_to_it(
    platform: LocalPlatform, tmp_path: Path, path: Path
) -> None:
    write_version(tmp_path / "version", "chatbot", "w", True, "", openvino=False)
    platform.store().put_model(tmp_path / "version", platform.sign)
    said: list[str] = []
    promote(platform, StackFile(path), "chatbot@1", say=said.append)
    assert any("`llmops models convert chatbot@1`" in line for line in said)


@pytest.mark.parametrize(("passed", "words"), [(False, "new-phrasings 0.10 < 0.80"), (None, "never evaluated")])
def test_a_version_without_passed_gate_needs_force_which_the_next_good_one_takes_back(
    platform: LocalPlatform, make_version: MakeVersion, path: Path, passed: bool | None, words: str
) -> None:
    platform.store().put_model(make_version(weights="bad", passed=passed), platform.sign)
    before = path.read_text()
    with pytest.raises(KitError, match=words):
        promote(platform, StackFile(path), "chatbot@1")
    assert path.read_text() == before

    assert promote(platform, StackFile(path), "chatbot@1", reason="a hotfix").waived
    assert StackFile(path).promoted()["chatbot"].gate == "waived"

    platform.store().put_model(make_version(weights="good"), platform.sign)
    promote(platform, StackFile(path), "chatbot@2")
    assert StackFile(path).promoted()["chatbot"].gate == "required"
    assert rollback(platform, StackFile(path)).waived
    assert StackFile(path).promoted()["chatbot"].gate == "waived"


@pytest.mark.scorecard("production")
def test_a_production_stack_takes_no_waived_gate_by_promotion_or_rollback(
    platform: LocalPlatform, make_version: MakeVersion, path: Path
) -> None:
    for weights, passed in (("bad", False), ("good", True)):
        platform.store().put_model(make_version(weights=weights, passed=passed), platform.sign)
    promote(platform, StackFile(path), "chatbot@1", reason="a hotfix")
    promote(platform, StackFile(path), "chatbot@2")
    path.write_text(path.read_text() + "  llmops:production: true\n")
    before = path.read_text()
    for change in (
        lambda: promote(platform, StackFile(path), "chatbot@1", reason="a hotfix"),
        lambda: rollback(platform, StackFile(path)),
    ):
        with pytest.raises(RefusedError, match="did not pass its gate, and this stack is for production"):
            change()
    assert path.read_text() == before
    assert not promote(platform, StackFile(path), "chatbot@2", reason="passed anyway").diff


def test_a_tampered_version_is_not_promoted(platform: LocalPlatform, versions: list[ModelRef], path: Path) -> None:
    weights = platform.store().model_folder(versions[0].sha256) / "model.safetensors"
    weights.unlink()
    weights.write_text("ww")
    with pytest.raises(IntegrityError) as caught:
        promote(platform, StackFile(path), "chatbot@1")
    assert caught.value.where == str(weights)


def test_a_version_of_another_stack_is_not_promoted(
    tmp_path: Path, platform: LocalPlatform, versions: list[ModelRef], path: Path
) -> None:
    other = make_platform(tmp_path / "other", "prod")
    copied = other.store().put_model(platform.store().model_folder(versions[0].sha256), platform.sign)
    with pytest.raises(SignatureError):
        promote(other, StackFile(path), copied.alias)


def test_a_name_that_no_endpoint_can_have_is_refused(
    platform: LocalPlatform, versions: list[ModelRef], path: Path
) -> None:
    before = path.read_text()
    with pytest.raises(KitError, match="'Bad: name' is not a valid name for an endpoint"):
        promote(platform, StackFile(path), "chatbot@1", endpoint="Bad: name")
    assert path.read_text() == before


def test_rollback_goes_back_step_by_step(platform: LocalPlatform, versions: list[ModelRef], path: Path) -> None:
    for number in (1, 2, 3):
        promote(platform, StackFile(path), f"chatbot@{number}")
    assert rollback(platform, StackFile(path)).after == versions[1]
    assert rollback(platform, StackFile(path)).after == versions[0]
    with pytest.raises(KitError, match="chatbot had no version before chatbot@1"):
        rollback(platform, StackFile(path))
    promote(platform, StackFile(path), "chatbot@3")
    assert rollback(platform, StackFile(path)).after == versions[0]


def test_rollback_knows_lines_that_were_written_by_hand(
    platform: LocalPlatform, versions: list[ModelRef], path: Path
) -> None:
    promote(platform, StackFile(path), "chatbot@1")
    path.write_text(path.read_text().replace(str(versions[0]), str(versions[1])))  # as `git revert` would
    assert rollback(platform, StackFile(path)).after == versions[0]

    path.write_text(path.read_text().replace(str(versions[0]), str(versions[1])))
    promote(platform, StackFile(path), "chatbot@3")
    assert rollback(platform, StackFile(path)).after == versions[1]


def test_rollback_of_nothing_says_so(platform: LocalPlatform, versions: list[ModelRef], path: Path) -> None:
    with pytest.raises(KitError, match="there is no endpoint"):
        rollback(platform, StackFile(path))
    promote(platform, StackFile(path), "chatbot@1", endpoint="one")
    promote(platform, StackFile(path), "chatbot@1", endpoint="two")
    with pytest.raises(KitError, match="which endpoint"):
        rollback(platform, StackFile(path))


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_version_of_another_name_is_neither_promoted_nor_gone_back_to(
    platform: LocalPlatform, versions: list[ModelRef], path: Path
) -> None:
    promote(platform, StackFile(path), "chatbot@1")
    before = path.read_text()
    alias = Alias.new(name="finance", number=1, sha256=versions[1].sha256, created="2026-11-25T12:00:00Z")
    platform.store().objects.create(alias_key("finance", 1), alias.to_json().encode())
    with pytest.raises(IntegrityError, match="the version is named chatbot, but its alias is finance@1"):
        promote(platform, StackFile(path), "finance@latest", endpoint="chatbot")
    assert path.read_text() == before

    planted = {"kind": "promote", "model": f"finance@1@sha256:{versions[1].sha256}", "before": "", "gate": "passed"}
    platform.store().append("promotions/chatbot", planted | {"gate_before": "required"})
    path.write_text(path.read_text().replace(str(versions[0]), str(versions[2])))
    before = path.read_text()
    with pytest.raises(IntegrityError, match="the version is named chatbot, but its alias is finance@1"):
        rollback(platform, StackFile(path))
    assert path.read_text() == before
