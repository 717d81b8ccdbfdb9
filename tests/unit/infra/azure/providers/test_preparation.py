"""Before an endpoint is put again: traffic and counts to repeat, and failed deployments to remove."""

from typing import Any

import pytest

from llmops_kit.infra.targets.azure.providers import preparation
from llmops_kit.infra.targets.dynamic import Properties
from tests.unit.infra.azure.arm import ENDPOINT, PLACE, WORKSPACE, InProcessArm

pytestmark = pytest.mark.usefixtures("arm")

PREPARATION = preparation.AzurePreparationProvider()
SCALING = f"{WORKSPACE}/providers/Microsoft.Insights/autoscaleSettings/load"


def prepared(**other: Any) -> Properties:
    return {
        **PLACE,
        "endpoint": ENDPOINT,
        "deployment": "new",
        "scaling": SCALING,
        "content": "c1",
        "settings": "s1",
        "instances": 1,
        "max_instances": 0,
        **other,
    }


def checked(olds: Properties, news: Properties) -> tuple[dict[str, int], int]:
    found = PREPARATION.check(olds, news).inputs
    return found["traffic"], found["capacity"]


def known(**other: Any) -> Properties:
    return PREPARATION.check({}, prepared(**other)).inputs


def test_a_new_endpoint_begins_without_traffic_and_with_the_declared_count() -> None:
    assert checked({}, prepared(instances=3)) == ({}, 3)


def test_the_endpoint_is_put_again_with_the_traffic_that_it_has(arm: InProcessArm) -> None:
    olds = known()
    arm.endpoint({"new": 100})
    assert checked(olds, prepared()) == ({}, 1)  # nothing changes: nothing is put
    assert checked(olds, prepared(content="c2")) == ({"new": 100}, 1)


def test_refresh_records_the_traffic_and_the_count_that_the_plugin_reads_too(arm: InProcessArm) -> None:
    olds = known(max_instances=4)
    arm.endpoint({"new": 100})
    arm.deploy("new", capacity=3)
    found = PREPARATION.read(ENDPOINT, olds).outs
    assert found
    assert checked(found, prepared(max_instances=4)) == ({"new": 100}, 3)


def test_autoscalings_count_is_kept_when_the_deployment_is_put_or_replaced(arm: InProcessArm) -> None:
    olds = known(max_instances=4)
    arm.endpoint({"new": 100})
    arm.deploy("new", capacity=3)
    assert checked(olds, prepared(max_instances=4))[1] == 1  # nothing is put
    assert checked(olds, prepared(max_instances=4, settings="s2"))[1] == 3
    assert checked(olds, prepared(max_instances=2, settings="s2"))[1] == 2
    assert checked(olds, prepared(max_instances=4, deployment="newer"))[1] == 3
    assert checked(olds, prepared(deployment="newer"))[1] == 1


def test_scaling_ends_before_its_count_is_fixed_and_is_made_anew_when_it_comes_back(arm: InProcessArm) -> None:
    """It would bring its count back, and the engine deletes it last; it finds it gone then."""
    olds = known(max_instances=4)
    arm.endpoint({"new": 100})
    arm.deploy("new", capacity=3)
    arm.documents[SCALING] = {"properties": {}}
    PREPARATION.update("", olds, known(max_instances=3))
    assert SCALING in arm.documents

    fixed = PREPARATION.check(olds, prepared()).inputs
    assert PREPARATION.diff("", olds, fixed).changes
    recorded = PREPARATION.update("", olds, fixed).outs
    assert recorded
    assert SCALING not in arm.documents
    assert ("PUT", "new") not in arm.calls

    again = PREPARATION.check(recorded, prepared(max_instances=4)).inputs
    assert again["repairs"]["scaling"] == 1, "its tag: the state has it still where the update failed after that"
    arm.calls.clear()
    PREPARATION.update("", recorded, fixed)
    assert not [call for call in arm.calls if call[0] == "DELETE"], "others may not be allowed to"


def test_what_an_older_kit_recorded_is_no_change() -> None:
    older = {key: value for key, value in known().items() if key != "scaling"}
    assert not PREPARATION.diff("", older, PREPARATION.check(older, prepared()).inputs).changes


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_a_deployment_that_failed_is_removed_and_its_tag_changes(
    arm: InProcessArm, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    olds = known()
    arm.endpoint()
    arm.deploy("new", state=state)
    news = PREPARATION.check(olds, prepared()).inputs
    assert news["repairs"] == {"endpoint": 0, "deployment": 1}
    assert PREPARATION.diff("", olds, news).changes
    recorded = PREPARATION.update("", olds, news).outs
    assert recorded
    assert f"{ENDPOINT}/deployments/new" not in arm.documents
    assert "removed its failed deployment new" in capsys.readouterr().out

    arm.deploy("new")
    assert not PREPARATION.diff("", recorded, PREPARATION.check(news, prepared()).inputs).changes
    newer = PREPARATION.check(news, prepared(deployment="newer")).inputs
    assert newer["repairs"] == {"endpoint": 0, "deployment": 0}


@pytest.mark.parametrize("traffic", [{"new": 100}, {"old": 90, "new": 10}])
def test_a_deployment_that_failed_and_has_requests_stays(arm: InProcessArm, traffic: dict[str, int]) -> None:
    olds = known()
    arm.endpoint(traffic)
    arm.deploy("new", state="Failed")
    news = PREPARATION.check(olds, prepared()).inputs
    assert news["repairs"]["deployment"] == 1
    PREPARATION.update("", olds, news)
    assert f"{ENDPOINT}/deployments/new" in arm.documents


def test_an_endpoint_that_failed_is_put_again_with_the_traffic_that_it_has(arm: InProcessArm) -> None:
    olds = known()
    arm.endpoint({"new": 100})
    arm.deploy("new")
    arm.documents[ENDPOINT]["properties"]["provisioningState"] = "Failed"
    news = PREPARATION.check(olds, prepared()).inputs
    assert (news["repairs"], news["traffic"]) == ({"endpoint": 1, "deployment": 0}, {"new": 100})
