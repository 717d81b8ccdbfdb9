"""Nobody gets out of a stack's place: what bootstrap gives to the workflows, searched and tried on a twin."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.platforms.azure import given
from llmops_kit.cli.platforms.azure.bootstrap.bootstrap import BootstrappedSubscription, bootstrap
from llmops_kit.cli.platforms.azure.bootstrap.roles import BUILT_IN, GRANTED
from llmops_kit.clouds.azure.session import AzureSession
from llmops_twins.azure.protocol.ids import key
from tests.emulated.cli.azure.conftest import entered
from tests.support.clouds.azure_escape import Ground, shortest_way_out

API = "2022-04-01"
ASSIGNMENTS, DEFINITIONS = "Microsoft.Authorization/roleAssignments", "Microsoft.Authorization/roleDefinitions"
ADMINISTRATOR = "Role Based Access Control Administrator"
_BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
_KEYS = "Microsoft.KeyVault/vaults/keys"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def made(twin: Path) -> BootstrappedSubscription:
    with entered(twin):
        return bootstrap(
            AzureSession(), "fort", lambda _: None, location="westeurope", github="acme/fort", stacks=("a", "b")
        )


@pytest.fixture
def ground(made: BootstrappedSubscription, session: AzureSession) -> Ground:
    stranger = given.application(f"stranger-{uuid.uuid4().hex[:8]}")[1]
    return ground_of(made, session, stranger)


def ground_of(made: BootstrappedSubscription, session: AzureSession, stranger: str) -> Ground:
    names, arm = made.names, session.arm
    known = given.admin("GET", "principals")
    identities = {each["resource"]: each["object_id"] for each in known if each.get("resource")}
    own = frozenset(key(settings["resource_group"]) for settings in made.stacks.values())
    signing = [f"{names.vault_id}/keys/{s['signing_key'].split('/')[-2]}" for s in made.stacks.values()]
    foreign = f"{names.scope}/resourceGroups/payroll"
    others = (
        *(names.scope, foreign, f"{foreign}/providers/Microsoft.Storage/storageAccounts/payroll"),
        *(names.group_id, names.account_id, names.container_id, names.vault_id, names.key_id, *signing),
        *(id_ for id_ in identities if key("/".join(id_.split("/")[:5])) not in own),
    )
    return Ground(
        documents=[d for k in (ASSIGNMENTS, DEFINITIONS) for d in arm.list(f"{names.scope}/providers/{k}", API)],
        identities=identities,
        own=own,
        others=others,
        strangers=(stranger, session.caller.object_id),
        may=frozenset(
            {(key(names.container_id), f"{_BLOBS}/{verb}") for verb in ("read", "write", "delete", "add/action")}
            | {(key(names.key_id), f"{_KEYS}/{verb}") for verb in ("read", "encrypt/action", "decrypt/action")}
            | {(key(id_), f"{_KEYS}/read") for id_ in signing}
        ),
    )


def principal_of(made: BootstrappedSubscription, ground: Ground, kind: str) -> str:
    return {key(id_): who for id_, who in ground.identities.items()}[key(made.roles[kind])]


@pytest.mark.vulnerability(12)
@pytest.mark.parametrize("kind", ["preview", "deploy", "promote"])
def test_vulnerability_12_no_identity_of_a_workflow_gets_out_of_its_stacks(
    made: BootstrappedSubscription, ground: Ground, kind: str
) -> None:
    signs = frozenset((key(scope), f"{_KEYS}/sign/action") for scope in ground.others if "/keys/fort-" in scope)
    if kind == "promote":
        ground = Ground(**{**vars(ground), "may": ground.may | signs})
    way = shortest_way_out(ground, principal_of(made, ground, kind))
    assert not way, "\n".join(["the shortest fix:", *way])


def old_condition(verbs: dict[str, str]) -> str:
    """What an earlier version wrote: which roles, and neither to whom nor of which type."""
    rules = (
        f"((!(ActionMatches{{'{ASSIGNMENTS}/{verb}'}})) OR (@{source}[{ASSIGNMENTS}:RoleDefinitionId] "
        f"ForAnyOfAnyValues:GuidEquals {{{', '.join(GRANTED)}}}))"
        for verb, source in verbs.items()
    )
    return " AND ".join(rules)


def assignment(who: str, role: str, scope: str, condition: str | None = None) -> Document:
    properties = {
        "principalId": who,
        "roleDefinitionId": f"{DEFINITIONS}/{BUILT_IN[role]}",
        "principalType": "ServicePrincipal",
        "scope": scope,
        "condition": condition,
    }
    id_ = f"{scope}/providers/{ASSIGNMENTS}/{uuid.uuid4()}"
    return {"id": id_, "type": ASSIGNMENTS, "name": id_.rpartition("/")[2], "properties": properties}


BOTH = {"write": "Request", "delete": "Resource"}


@pytest.mark.vulnerability(12)
@pytest.mark.parametrize(
    ("role", "scope", "condition", "way"),
    [
        ("Contributor", "subscription", None, "on /subscriptions/"),
        (ADMINISTRATOR, "subscription", old_condition(BOTH), "gives "),
        (ADMINISTRATOR, "stack", old_condition(BOTH), "gives "),
        (ADMINISTRATOR, "stack", None, "gives "),
        (ADMINISTRATOR, "stack", "{same principals}", ""),
        (ADMINISTRATOR, "stack", "{write alone}", "deletes "),
        ("Contributor", "states", None, "on /subscriptions/"),
        ("Storage Blob Data Contributor", "container", None, "containers/"),
        ("Key Vault Crypto User", "key", None, "keys/"),
    ],
)
def test_vulnerability_12_the_search_finds_the_way_of_each_wider_right(
    made: BootstrappedSubscription, ground: Ground, role: str, scope: str, condition: str | None, way: str
) -> None:
    who, names = principal_of(made, ground, "deploy"), made.names
    group = made.stacks["a"]["resource_group"]
    scopes = {
        "subscription": names.scope,
        "stack": group,
        "states": names.group_id,
        "container": names.container_id,
        "key": names.key_id,
    }
    bounded = next(
        d["properties"]["condition"]
        for d in ground.documents
        if d["type"] == ASSIGNMENTS and d["properties"]["principalId"] == who and d["properties"].get("condition")
    )
    written = {"{same principals}": bounded, "{write alone}": bounded.rpartition(" AND ((!(")[0]}.get(
        condition or "", condition
    )
    wider = [d for d in ground.documents if d["properties"].get("principalId") != who or condition is None]
    changed = Ground(**{**vars(ground), "documents": [*wider, assignment(who, role, scopes[scope], written)]})
    found = shortest_way_out(changed, who)
    assert bool(found) is bool(way), found
    assert way in "".join(found[:1])


@pytest.mark.vulnerability(2)
def test_vulnerability_2_becoming_a_managed_identity_is_a_move(made: BootstrappedSubscription, ground: Ground) -> None:
    """As AWS's boundary prevents: an identity of the stack with too many rights is a way out for the deployer."""
    who, training = principal_of(made, ground, "deploy"), made.stacks["a"]["identities"]["training"]
    rich = assignment({key(k): v for k, v in ground.identities.items()}[key(training)], "Contributor", made.names.scope)
    changed = Ground(**{**vars(ground), "documents": [*ground.documents, rich]})
    way = shortest_way_out(changed, who)
    assert len(way) == 2
    assert way[0].startswith("becomes ")
    assert training.lower() in way[0].lower()
