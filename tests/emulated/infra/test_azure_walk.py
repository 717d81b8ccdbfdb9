"""Every setting on Azure: a change changes what a provider acts on, or is refused by the setting's name."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pulumi
import pytest

from llmops_kit.clouds.azure.names import resource_id
from llmops_kit.clouds.azure.settings import AzureSettings
from llmops_kit.infra.targets.azure import resolve
from tests.support.checkout import CHECKOUT
from tests.unit.infra.azure.conftest import (
    LOCATION,
    PROVIDERS,
    RUN,
    SERVING,
    SUBSCRIPTION,
    TRAINING,
    Subscription,
    on_azure,
)
from tests.unit.infra.azure.test_target import HAD, give
from tests.unit.infra.program import Declared, run_program
from tests.unit.infra.test_walk import ENTRY, FOR_RUNS, FOR_THE_RULES, SIZE, WALK, leaves

AZURE, JOBS, WEEKLY = "azure.", "azure.jobs.", "azure.schedules.weekly."
CLUSTER = "azure.computes.weekly."
GPU, CPU, LARGER = "Standard_NC4as_T4_v3", "Standard_DS3_v2", "Standard_F8s_v2"
SCHEDULE = {"run": RUN, "cron": "0 3 * * 0"}
REPEATED: dict[str, Any] = {f"{AZURE}schedules": {"weekly": SCHEDULE}}
BOTH: dict[str, Any] = {f"{AZURE}computes": {"cpu": {}, "gpu": {"vm_size": GPU}, "spot": {"spot": True}}}
MANY: dict[str, Any] = {f"{AZURE}computes": {"cpu": {"max_nodes": 4}}}
PERSON = {"object_id": "aaaaaaaa-0000-0000-0000-000000000000"}
SUBNET = f"{PROVIDERS}/Microsoft.Network/virtualNetworks/v/subnets"
PRIVATE: dict[str, Any] = {f"{AZURE}network": {"mode": "existing", "subnet": f"{SUBNET}/s"}}
KEYS = "https://theirs.vault.azure.net/keys/data"
VAULTS = f"{PROVIDERS}/Microsoft.KeyVault/vaults"
ENCRYPTED: dict[str, Any] = {f"{AZURE}encryption": {"key": f"{KEYS}/{'0' * 32}", "vault": f"{VAULTS}/a"}}
GIVEN_ACCOUNT = {f"{AZURE}storage_account": HAD["storage_account"]}
OTHER_SUBSCRIPTION = "22222222-3333-4444-5555-666666666666"


def _zone(setting: str) -> tuple[Any, Any, dict[str, Any]]:
    return ("", f"{PROVIDERS}/Microsoft.Network/privateDnsZones/{setting}", PRIVATE)


# Path -> from, to, and what else must be set for it to matter, where that is another than on the other targets.
ON_AZURE: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "images.training": (TRAINING, TRAINING.replace("7" * 64, "8" * 64), {}),
    "images.serving_vllm": (
        SERVING,
        TRAINING,
        {"images.serving": "", f"{SIZE}instance_type": "Standard_NC24ads_A100_v4"},
    ),
    f"{SIZE}instance_type": ("", LARGER, {}),
    f"{ENTRY}gate": ("waived", "required", {}),
    f"{AZURE}subscription": ("", OTHER_SUBSCRIPTION, {}),
    f"{AZURE}location": (LOCATION, "northeurope", {}),
    f"{AZURE}tags": ({}, {"team": "chat"}, {}),
    f"{AZURE}resource_group": ("", HAD["resource_group"], {}),
    f"{AZURE}storage_account": ("", HAD["storage_account"], {}),
    f"{AZURE}store_container": ("", "our-store", GIVEN_ACCOUNT),
    f"{AZURE}work_container": ("", "our-work", GIVEN_ACCOUNT),
    f"{AZURE}redundancy": ("ZRS", "LRS", {}),
    f"{AZURE}vault": ("", HAD["vault"], {}),
    f"{AZURE}signing_key": ("", HAD["signing_key"], {}),
    f"{AZURE}registry": ("", HAD["registry"], {}),
    f"{AZURE}logs": ("", f"{PROVIDERS}/Microsoft.OperationalInsights/workspaces/theirs", {}),
    f"{AZURE}metrics": ("", HAD["metrics"], {}),
    f"{AZURE}workspace": ("", HAD["workspace"], {}),
    f"{AZURE}identities.training": ("", HAD["identities"]["training"], {}),
    f"{AZURE}identities.endpoint": ("", HAD["identities"]["endpoint"], {}),
    f"{AZURE}identities.workspace": ("", HAD["identities"]["endpoint"], {}),
    f"{AZURE}operators": ([], [PERSON], {}),
    f"{AZURE}encryption.key": (f"{KEYS}/{'0' * 32}", f"{KEYS}/{'1' * 32}", ENCRYPTED),
    f"{AZURE}encryption.vault": (f"{VAULTS}/a", f"{VAULTS}/b", ENCRYPTED),
    f"{AZURE}network.mode": ("none", "managed", {}),
    f"{AZURE}network.outbound": ("approved", "internet", {f"{AZURE}network.mode": "managed"}),
    f"{AZURE}network.subnet": (f"{SUBNET}/s", f"{SUBNET}/t", PRIVATE),
    **{f"{AZURE}network.dns_zones.{z}": _zone(z) for z in ("workspace", "notebooks", "blob", "vault", "registry")},
    f"{AZURE}instance_type": (CPU, LARGER, {}),
    f"{AZURE}answer_seconds": (10.0, 20.0, {f"{SIZE}max_instances": 3}),
    f"{AZURE}log_retention_days": (365, 30, {}),
    f"{AZURE}runs_days": (90, 30, {}),
    f"{AZURE}audit": (False, True, {}),
    f"{AZURE}alerts.error_rate": (0.05, 0.1, {}),
    f"{AZURE}alerts.latency_seconds": (20.0, 5.0, {}),
    f"{AZURE}alerts.quality": (1.0, 0.5, {}),
    f"{AZURE}budget.monthly_usd": (100, 0, {}),
    f"{AZURE}budget.emails": ([], ["you@example.com"], {}),
    f"{CLUSTER}vm_size": (CPU, GPU, {}),
    f"{CLUSTER}spot": (False, True, {}),
    f"{CLUSTER}min_nodes": (0, 1, {}),
    f"{CLUSTER}max_nodes": (1, 2, {}),
    f"{CLUSTER}idle_minutes": (2, 10, {}),
    f"{JOBS}instance_type": (CPU, GPU, REPEATED | BOTH),
    f"{JOBS}instances": (1, 2, REPEATED | MANY),
    f"{JOBS}spot": (False, True, REPEATED | BOTH),
    f"{JOBS}max_hours": (24, 12, REPEATED),
    f"{JOBS}max_wait_hours": (0, 30, REPEATED | BOTH | {f"{JOBS}spot": True}),
    f"{JOBS}volume_gb": (50, 100, {}),
    f"{JOBS}warm_pool_minutes": (0, 10, {}),
    f"{WEEKLY}run": (RUN, "chatbot-0002", REPEATED),
    f"{WEEKLY}cron": ("0 3 * * 0", "0 4 * * 0", REPEATED),
    f"{WEEKLY}timezone": ("UTC", "W. Europe Standard Time", REPEATED),
    f"{WEEKLY}instance_type": (CPU, GPU, REPEATED | BOTH),
    f"{WEEKLY}max_hours": (24, 2, REPEATED),
    f"{WEEKLY}on": (True, False, REPEATED),
}
STEPS = {
    path: step
    for path, step in (WALK | ON_AZURE).items()
    if path not in ("target", *FOR_THE_RULES, *FOR_RUNS) and not path.startswith("aws.")
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscription]:
    """One subscription for the whole walk, where nothing is made, with two versions in its store."""
    folder = tmp_path_factory.mktemp("walk").resolve()
    shutil.copy(CHECKOUT / "Pulumi.yaml", folder)
    found = Subscription(folder)
    with pytest.MonkeyPatch.context() as patch, on_azure(patch, found):
        patch.chdir(folder)
        patch.setattr(resolve, "_keys_in_state", lambda *_: frozenset())
        for number in (1, 2):
            found.promoted[number] = found.add_version(f"chatbot@{number}", passed=False)
        for run in (RUN, "chatbot-0002"):
            found.add_run(run)
        for (container, key), content in list(found.blobs.items()):
            for other in (found.names.of(container), f"our-{container}"):
                found.blobs[other, key] = content
        give(found)
        account = found.documents[found.account]
        for subscription, group in ((SUBSCRIPTION, "theirs"), (OTHER_SUBSCRIPTION, found.group)):
            name = found.names.compact("data", 24, subscription)
            found.documents[resource_id(subscription, group, "Microsoft.Storage/storageAccounts", name)] = account
        found.documents[ON_AZURE[f"{AZURE}logs"][1]] = {}
        yield found


@pytest.mark.parametrize("path", STEPS)
def test_azure_acts_or_refuses_by_name(path: str, place: Subscription) -> None:
    before, after, needed = STEPS[path]
    if path.startswith(AZURE):  # where it begins is the default, or what it needs
        first = _acted_on(path, needed, place)
    else:
        first = _acted_on(path, needed | {path: before}, place)
    second = _acted_on(path, needed | {path: after}, place)
    assert first != second
    refusals = [text for text in (first, second) if isinstance(text, str)]
    for text in refusals:
        named = path.rpartition(".")[0] if needed else path
        assert f"llmops:{named.removesuffix('.weekly')}" in text
        assert "fix: " in text
    assert len(refusals) < 2, refusals
    if path in ON_AZURE and not path.startswith(REFUSED):
        assert not refusals


OF_ENDPOINTS = (
    f"{AZURE}instance_type",
    f"{AZURE}answer_seconds",
    *(f"{AZURE}alerts.{a}" for a in ("error_rate", "latency_seconds", "quality")),
)
REFUSED = (
    f"{ENTRY}gate",
    *(JOBS + field for field in ("max_wait_hours", "volume_gb", "warm_pool_minutes")),
)


def test_the_walk_is_complete() -> None:
    assert sorted(leaves(AzureSettings, AZURE)) == sorted(path for path in ON_AZURE if path.startswith(AZURE))


@pytest.mark.parametrize("target", ["local", "aws"])
def test_other_targets_refuse_it_by_name(target: str, place: Subscription) -> None:
    for path, (_, after, needed) in ON_AZURE.items():
        if not path.startswith(AZURE) or path == f"{AZURE}location":
            continue
        config: dict[str, Any] = {"target": target}
        for at, given in {**needed, path: after}.items():
            if at.startswith(AZURE):
                _put(config, at, given)
        with pytest.raises(pulumi.RunError, match=r"llmops:azure\.\S+: has no effect on"):
            run_program(config)


_known: dict[str, Declared | str] = {}  # most steps begin at the same place


def _acted_on(path: str, given: dict[str, Any], place: Subscription) -> dict[str, dict[str, Any]] | str:
    """Inputs that providers act on, or the words of a refusal."""
    config: dict[str, Any] = {}
    if not path.startswith(AZURE) or path in OF_ENDPOINTS:
        config["endpoints"] = {"chat": {"model": place.promoted[1], "gate": "waived"}}
    base = {"images.serving": SERVING, "images.training": TRAINING, f"{AZURE}location": LOCATION}
    for at, value in (base | given).items():
        _put(config, at, place.promoted[int(value)] if at == f"{ENTRY}model" else value)
    key = json.dumps(config, sort_keys=True)
    if key not in _known:
        try:
            _known[key] = place.provision(config)
        except pulumi.RunError as refusal:
            _known[key] = str(refusal)
    declared = _known[key]
    if isinstance(declared, str):
        return declared
    left_out = () if path in (f"{AZURE}tags", "expires") else ("tags", "description", "url")
    return {
        urn: {k: v for k, v in inputs.items() if k not in left_out}
        for urn, inputs in declared.resources.items()
        if "::providers:" not in urn
    }


def _put(config: dict[str, Any], path: str, value: Any) -> None:
    *folders, last = path.split(".")
    node: Any = config
    for folder in folders:
        node = node.setdefault(folder, {})
    node[last] = json.loads(json.dumps(value))
