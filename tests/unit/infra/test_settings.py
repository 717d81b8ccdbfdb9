"""Settings: what is refused, with which words; and that Pulumi.yaml and the model say the same."""

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from llmops_kit.core.document import Part
from tests.support.checkout import CHECKOUT
from tests.unit.infra.program import PROJECT, expect_refusal

MODEL = f"chatbot@1@sha256:{'a' * 64}"


def _entry(**fields: Any) -> dict[str, Any]:
    return {"endpoints": {"chat": {"model": MODEL, **fields}}}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"local_hom": "x"}, ["llmops:local_hom: unknown key", "local_home"]),
        (
            {"accepted_rules": {"public": "x"}},
            ["llmops:accepted_rules.public", "there is no rule 'public'", "tls-only"],
        ),
        ({"accepted_rules": {"tls-only": ""}}, ["llmops:accepted_rules.tls-only: ", "at least 1 character"]),
        ({"accepted_rules": {"tls-only": "x"}}, ["llmops:accepted_rules: has no effect on this machine"]),
        ({"target": "azur"}, ["llmops:target: there is no target 'azur'", "did you mean azure? write one of: local"]),
        ({"target": "gcp"}, ["llmops:target: there is no target 'gcp'", "write one of: local"]),
        ({"azure": {"locaton": "x"}}, ["llmops:azure.locaton: unknown key", "subscription, location"]),
        ({"azure": {"location": "westeurope"}}, ["llmops:azure.location: has no effect on this machine"]),
        ({"azure": {"vault": "theirs"}}, ["azure.vault: 'theirs' is not a resource id", "Microsoft.KeyVault/vaults"]),
        ({"azure": {"network": {"mode": "existing"}}}, ["azure.network: `mode: existing` needs subnet"]),
        (
            {"azure": {"network": {"outbound": "internet"}}},
            ["outbound has no effect with `mode: none`", "`mode: managed`"],
        ),
        ({"azure": {"store_container": "ours"}}, ["store_container has no effect without storage_account"]),
        ({"azure": {"encryption": {"key": f"https://v/keys/k/{'0' * 32}"}}}, ["key and vault belong together"]),
        ({"azure": {"computes": {"cpu": {"min_nodes": 2}}}}, ["computes.cpu: min_nodes must be at most max_nodes"]),
        ({"azure": {"instance_type": "ml.m5.xlarge"}}, ["llmops:azure.instance_type: "]),
        ({"azure": {"schedules": {"weekly": {"run": "a-run", "cron": "rate(7 days)"}}}}, ["schedules.weekly.cron: "]),
        ({"local_runtime": "podman"}, ["llmops:local_runtime: ", "'process' or 'docker'"]),
        ({"local_home": ""}, ["llmops:local_home: "]),
        ({"endpoints": "chatbot"}, ["llmops:endpoints: ", "must be a mapping"]),
        ({"endpoints": {"chat": "chatbot@1"}}, ["llmops:endpoints.chat: "]),
        ({"endpoints": {"chat": {}}}, ["llmops:endpoints.chat.model: is missing", "llmops promote"]),
        ({"endpoints": {"Chat_1": {"model": MODEL}}}, ["llmops:endpoints.Chat_1: ", "small letters"]),
        (_entry(modell="x"), ["chat.modell: unknown key", "did you mean model?", "model, endpoint, size"]),
        (_entry(model="chatbot@1"), ["llmops:endpoints.chat.model: 'chatbot@1' is not a promoted", "llmops promote"]),
        (_entry(size={"instances": 0}), ["llmops:endpoints.chat.size.instances: 0 workers serve nothing", "off"]),
        (_entry(size={"instances": -1}), ["llmops:endpoints.chat.size.instances: ", "must be at least 0 (found -1)"]),
        (
            _entry(size={"instances": "two"}),
            ["llmops:endpoints.chat.size.instances: ", "must be a whole number"],
        ),
        (
            _entry(size={"instance": 2}),
            ["llmops:endpoints.chat.size.instance: unknown key", "one of: instances, max_instances"],
        ),
        (_entry(size={"max_instances": 1}), ["llmops:endpoints.chat.size: max_instances must be more than instances"]),
        (_entry(size={"concurrent_requests": 9}), ["concurrent_requests has no effect without max_instances"]),
        (_entry(rollout={"strategy": "canary", "step_percent": 9}), ["step_percent has no effect", "rolling"]),
        (_entry(rollout={"canary_percent": 9}), ["canary_percent has no effect without `strategy: canary`"]),
        (_entry(rollout={"strategy": "rolling"}), ["llmops:endpoints.chat.rollout.strategy: rolling is a cloud's"]),
        (_entry(mode="async"), ["llmops:endpoints.chat.mode: has no effect on this machine", "target: aws"]),
        (
            {"endpoints": {"size": {"model": MODEL, "insances": 1}}},
            ["llmops:endpoints.size.insances: unknown key", "gate"],
        ),
        ({"expires": "soon"}, ["llmops:expires: 'soon' is neither a date (2026-12-31) nor a time"]),
        ({"production": True}, ["llmops:production: has no effect on this machine", "target: aws"]),
        ({"expires": "2026-12-31"}, ["llmops:expires: has no effect on this machine", "target: aws"]),
        ({"images": {"serving": "repo:latest"}}, ["llmops:images: serving: 'repo:latest' is not by digest"]),
        ({"aws": {"regoin": "x"}}, ["llmops:aws.regoin: unknown key", "region, profile"]),
        ({"aws": {"network": {"mod": "own"}}}, ["llmops:aws.network.mod: unknown key", "one of: mode, cidr"]),
        ({"aws": {"schedules": {"weekly": {"run": "a-run", "corn": "x"}}}}, ["aws.schedules.weekly.cron: is missing"]),
        ({"aws": {"schedules": {"weekly": {"corn": "x"}}}}, ["aws.schedules.weekly.corn: unknown key", "run, cron"]),
        ({"aws": {"network": {"mode": "existing"}}}, ["aws.network: `mode: existing` needs subnet_ids"]),
        ({"aws": {"network": {"cidr": "10.0.0.0/16"}}}, ["aws.network: cidr has no effect with `mode: none`"]),
        ({"aws": {"network": {"mode": "own", "cidr": "10.0.0.0/28"}}}, ["aws.network.cidr: ", "/16 to /24"]),
        ({"aws": {"network": {"mode": "own", "cidr": "10.0.0.1/16"}}}, ["aws.network.cidr: ", "is not a network"]),
        ({"aws": {"network": {"mode": "own", "zones": ["a", "a"]}}}, ["aws.network: zones must be two different"]),
        ({"aws": {"roles": {"training": "arn:aws:iam::1:user/me"}}}, ["aws.roles.training: ", "iam:role/"]),
        ({"aws": {"kms_key_arn": "alias/mine"}}, ["aws.kms_key_arn: 'alias/mine' is not an ARN", "kms:key/"]),
        ({"aws": {"registry": "ghcr.io/me"}}, ["aws.registry: "]),
        ({"aws": {"region": "eu-central-1"}}, ["llmops:aws.region: has no effect on this machine", "target: aws"]),
        (_entry(endpoint="perhaps"), ["llmops:endpoints.chat.endpoint: ", "must be true or false"]),
        (_entry(precision="int8"), ["llmops:endpoints.chat.precision: ", "'auto', 'f32' or 'bf16'"]),
        (_entry(prefix_cache=True, engine="transformers"), ["llmops:endpoints.chat: prefix_cache has no effect with"]),
        (_entry(port=70000), ["llmops:endpoints.chat.port: ", "65535"]),
        (_entry(limits={"max_queue": -1}), ["llmops:endpoints.chat.limits.max_queue: ", "a number from 0 to 100000"]),
        (_entry(limits={"request_seconds": 0}), ["chat.limits.request_seconds: ", "a number from 0.1 to 86400"]),
        (_entry(limits={"max_que": 1}), ["chat.limits.max_que: unknown key", "did you mean max_queue?"]),
        (_entry(limits={"max_body": 1 << 26}), ["chat.limits.max_body: this machine's router", "33554432 or less"]),
        (_entry(rollout={"bake_seconds": 5}), ["llmops:endpoints.chat.rollout: bake_seconds have no effect", "canary"]),
    ],
)
def test_mistakes_are_named_with_the_way_out(config: dict[str, Any], words: list[str], project: Path) -> None:
    text = expect_refusal(config)
    assert "Traceback" not in text
    assert "fix: " in text
    for word in words:
        assert word in text


def test_all_mistakes_are_told_at_once(project: Path) -> None:
    text = expect_refusal(_entry(port=-1, precision="int8") | {"nonsense": "1"})
    for key in ("llmops:nonsense", "llmops:endpoints.chat.port", "llmops:endpoints.chat.precision"):
        assert key in text


def test_the_stack_files_line_is_named(project: Path) -> None:
    (project / "Pulumi.demo.yaml").write_text(
        "config:\n"
        "  llmops:target: local\n"
        "  llmops:endpoints:\n"
        "    chat:\n"
        f"      model: {MODEL} # promoted yesterday\n"
        "      size:\n"
        "        instances: 0\n"
    )
    config = YAML(typ="safe", pure=True).load(project / "Pulumi.demo.yaml")["config"]
    text = expect_refusal({key.removeprefix("llmops:"): value for key, value in config.items()})
    assert text.startswith("Pulumi.demo.yaml:7: llmops:endpoints.chat.size.instances: ")
    (project / "Pulumi.demo.yaml").write_text((project / "Pulumi.demo.yaml").read_text().replace("ces: 0", "ces: 1"))
    text = expect_refusal({"endpoints": {"chat": {"model": MODEL, "size": {"instances": 1}}}})
    assert text.startswith("Pulumi.demo.yaml:5: llmops:endpoints.chat.model: the stack's store has no chatbot@1")


@pytest.mark.parametrize(("written", "on"), [("off", False), ("on", True), ("false", False), ("true", True)])
def test_endpoint_takes_yaml_words_of_both_versions(written: str, on: bool) -> None:
    """YAML 1.1 reads `off` as a boolean, 1.2 as a string."""
    from llmops_kit.settings.stack_settings import Endpoint

    for value in (written, YAML(typ="safe", pure=True).load(written)):
        assert Endpoint.model_validate({"model": MODEL, "endpoint": value}).endpoint is on


def test_pulumi_yaml_declares_the_same_settings(project: Path) -> None:
    from llmops_kit.settings.stack_settings import Settings

    assert list(PROJECT["config"]) == list(Settings.model_fields)
    for key, field in Settings.model_fields.items():
        declared = PROJECT["config"][key]
        assert declared["description"] == field.description, key
        default = field.default.model_dump(exclude_defaults=True) if isinstance(field.default, Part) else field.default
        assert declared["default"] == default, key
        assert declared["type"] == {dict: "object", bool: "boolean"}.get(type(default), "string"), key


@pytest.mark.parametrize(("stack", "target"), [("local", "local"), ("aws-dev", "aws")])
def test_the_example_stacks_are_valid(stack: str, target: str) -> None:
    from llmops_kit.settings.reading import SettingsOrigin, parse_settings

    config = YAML(typ="safe", pure=True).load(CHECKOUT / f"Pulumi.{stack}.yaml")["config"]
    texts = {k.removeprefix("llmops:"): v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    assert parse_settings(texts, SettingsOrigin("llmops", CHECKOUT / f"Pulumi.{stack}.yaml")).target == target


def test_nothing_in_infra_shadows_a_package() -> None:
    """Pulumi puts the program's folder first on sys.path: a module of infra/ hides whatever else has its name."""
    ours = {path.stem for path in (CHECKOUT / "infra").iterdir() if path.suffix == ".py" or path.is_dir()}
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    assert (ours - {"__init__", "__main__", "__pycache__"}).isdisjoint(taken)
