"""The whole program under Pulumi's mocks: what it declares, exports and refuses."""

import json
from pathlib import Path

import pytest

from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.layout import rejection_log
from tests.unit.infra.program import add_version, expect_refusal, run_program

URNS = Path(__file__).with_name("urns.txt")


def test_an_empty_stack_has_a_store_keys_and_a_place_to_train(project: Path) -> None:
    declared = run_program({})
    assert not [urn for urn in declared.resources if "Endpoint" in urn]
    outputs = StackOutputs.parse(json.dumps(declared.outputs), where="outputs")
    assert outputs.target == "local"
    assert outputs.training.runs == str(project / ".llmops/demo/runs")
    assert outputs.endpoints == {}


def test_outputs_describe_each_endpoint(project: Path, store: Path) -> None:
    model = add_version(store, "chatbot@1")
    declared = run_program({"endpoints": {"chat": {"model": model}, "other": {"model": model, "endpoint": "off"}}})
    outputs = StackOutputs.parse(json.dumps(declared.outputs), where="outputs")
    assert outputs.endpoints["chat"].model == model
    assert outputs.endpoints["chat"].url.startswith("http://127.0.0.1:")
    assert outputs.endpoints["chat"].image.startswith("process:serving@sha256:")
    assert outputs.endpoints["chat"].on
    assert not outputs.endpoints["other"].on


def test_preview_knows_everything_readable(project: Path, store: Path) -> None:
    model = add_version(store, "chatbot@1")
    declared = run_program({"endpoints": {"chat": {"model": model}}}, preview=True)
    inputs = declared.of("endpoint-chat")
    assert inputs["model"] == "chatbot@1"
    assert inputs["image"].startswith("process:serving@sha256:")
    assert inputs["sha256"] == model.partition("sha256:")[2]
    assert not (project / ".llmops/demo/keys").exists()


def test_urns_stay_as_they_are(project: Path, store: Path) -> None:
    """A changed URN means another resource: the old one would be deleted. Give the new one an alias first."""
    declared = run_program({"endpoints": {"chat": {"model": add_version(store, "chatbot@1")}}})
    assert sorted(declared.resources) == URNS.read_text().splitlines()


def test_a_version_that_is_not_in_the_store_is_refused(project: Path, store: Path) -> None:
    text = expect_refusal({"endpoints": {"chat": {"model": f"chatbot@7@sha256:{'0' * 64}"}}})
    assert "llmops:endpoints.chat.model: the stack's store has no chatbot@7" in text
    assert "llmops promote" in text


def test_alias_and_identity_must_agree(store: Path) -> None:
    add_version(store, "chatbot@1")
    text = expect_refusal({"endpoints": {"chat": {"model": f"chatbot@1@sha256:{'0' * 64}"}}})
    assert "llmops:endpoints.chat.model: chatbot@1 is sha256:" in text


def test_a_changed_manifest_is_refused(store: Path) -> None:
    model = add_version(store, "chatbot@1")
    manifest = store / "models" / model.partition("sha256:")[2] / "manifest.json"
    manifest.write_text(manifest.read_text().replace("F32", "BF16"))
    assert "was changed" in expect_refusal({"endpoints": {"chat": {"model": model}}})
    manifest.unlink()
    assert "is missing" in expect_refusal({"endpoints": {"chat": {"model": model}}})


@pytest.mark.vulnerability(5)
def test_vulnerability_5_an_alias_of_a_version_of_another_name_is_refused(store: Path) -> None:
    model = add_version(store, "chatbot@4", named="finance")
    words = expect_refusal({"endpoints": {"chatbot": {"model": model, "gate": "waived"}}})
    assert "says that the version is named finance, but its alias is chatbot@4" in words


@pytest.mark.parametrize(("passed", "words"), [(False, "0.12 is below 0.80"), (None, "was never evaluated")])
def test_the_gate_holds_unless_waived(store: Path, passed: bool | None, words: str) -> None:
    model = add_version(store, "chatbot@1", passed=passed)
    text = expect_refusal({"endpoints": {"chat": {"model": model}}})
    assert "llmops:endpoints.chat.gate" in text
    assert words in text
    assert run_program({"endpoints": {"chat": {"model": model, "gate": "waived"}}}).of("endpoint-chat")


def test_an_endpoint_can_be_switched_off_though_its_version_is_gone(project: Path) -> None:
    entry = {"model": f"chatbot@7@sha256:{'0' * 64}", "endpoint": "off"}
    assert run_program({"endpoints": {"chat": entry}}).of("endpoint-chat")["status"] == "off"


def test_a_rejected_version_is_refused_with_the_line_that_goes_back(store: Path) -> None:
    model = add_version(store, "chatbot@2")
    log = store / rejection_log(model.partition("sha256:")[2])
    log.mkdir(parents=True)
    back = "llmops:endpoints.chat.model: chatbot@1@sha256:…"
    entry = {"action": "rejected", "why": "the quality alarm went off", "when": "2026-11-25T00:00:00Z", "instead": back}
    (log / "000001.json").write_text(json.dumps(entry))
    text = expect_refusal({"endpoints": {"chat": {"model": model}}})
    assert "chatbot@2 was rejected at 2026-11-25T00:00:00Z: the quality alarm went off" in text
    assert f"go back with `{back}`" in text
    assert "llmops models clear chatbot@2" in text
    (log / "000002.json").write_text(json.dumps({"action": "cleared", "why": "the alarm was wrong", "when": "later"}))
    assert run_program({"endpoints": {"chat": {"model": model}}}).has("endpoint-chat")
    (log / "000003.json").write_text(json.dumps({"action": "rejected"}))
    assert "promote another version" in expect_refusal({"endpoints": {"chat": {"model": model}}})


@pytest.mark.parametrize(
    ("memory_mb", "more", "words"),
    [
        (255, {}, "needs 256 MiB for its weights and programs"),
        (1 << 26, {}, "so the limit would never apply"),
        (4096, {"local_runtime": "docker"}, "Docker limits the memory of containers by itself"),
    ],
)
def test_a_limit_of_memory_that_cant_hold_is_refused_with_its_figures(
    store: Path, memory_mb: int, more: dict[str, str], words: str
) -> None:
    model = add_version(store, "chatbot@1")
    text = expect_refusal({"endpoints": {"chat": {"model": model, "limits": {"memory_mb": memory_mb}}}} | more)
    assert "llmops:endpoints.chat.limits.memory_mb" in text
    assert words in text
    assert "fix: " in text
