"""The whole program under Pulumi's mocks: what it declares, exports and refuses."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from contract.outputs import StackOutputs
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


# Every setting, by path, from one value to another. A walk misses no field: see test_the_walk_is_complete.
WALK: dict[str, tuple[Any, Any]] = {
    "local_home": (".llmops", "elsewhere"),
    "local_runtime": ("process", "docker"),
    "target": ("local", "aws"),
    "endpoints.chat.model": (1, 2),
    "endpoints.chat.endpoint": (True, False),
    "endpoints.chat.size.instances": (1, 2),
    "endpoints.chat.rollout.strategy": ("canary", "all_at_once"),
    "endpoints.chat.rollout.canary_percent": (10, 20),
    "endpoints.chat.rollout.bake_seconds": (1, 2),
    "endpoints.chat.precision": ("f32", "bf16"),
    "endpoints.chat.port": (0, 8765),
    "endpoints.chat.gate": ("waived", "required"),
}


@pytest.mark.parametrize("path", WALK)
def test_every_setting_is_acted_on_or_refused_by_name(path: str, project: Path) -> None:
    promoted = {home: _promote_both(project / home / "demo/store") for home in (".llmops", "elsewhere")}[".llmops"]
    before, after = (_configuration(path, value, promoted) for value in WALK[path])
    first, second = _acted_on(before), _acted_on(after)
    assert first != second
    assert not isinstance(first, str)
    if isinstance(second, str):
        assert f"llmops:{path}" in second
        assert "way out" in second


def test_the_walk_is_complete() -> None:
    from infra.settings import Endpoint, Rollout, Settings, Size

    entry = "endpoints.chat."
    fields = [f for f in Settings.model_fields if f != "endpoints"]
    fields += [entry + f for f in Endpoint.model_fields if f not in ("size", "rollout")]
    fields += [f"{entry}size.{f}" for f in Size.model_fields] + [f"{entry}rollout.{f}" for f in Rollout.model_fields]
    assert sorted(fields) == sorted(WALK)


def _promote_both(store: Path) -> dict[int, str]:
    # The gate's walk needs a version that did not pass, so the others run waived.
    return {number: add_version(store, f"chatbot@{number}", passed=False) for number in (1, 2)}


def _configuration(path: str, value: Any, promoted: dict[int, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"model": promoted[1], "gate": "waived", "rollout": {"strategy": "canary"}}
    config: dict[str, Any] = {"endpoints": {"chat": entry}}
    *folders, last = path.split(".")
    node: Any = config
    for folder in folders:
        node = node.setdefault(folder, {})
    node[last] = promoted[value] if path.endswith(".model") else value
    return config


def _acted_on(config: dict[str, Any]) -> dict[str, dict[str, Any]] | str:
    """Inputs that providers act on (a provider's diff compares all of its inputs), or the words of a refusal."""
    try:
        declared = run_program(config)
    except pulumi.RunError as refusal:
        return str(refusal)
    return {urn: {k: v for k, v in inputs.items() if k != "url"} for urn, inputs in declared.resources.items()}


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
