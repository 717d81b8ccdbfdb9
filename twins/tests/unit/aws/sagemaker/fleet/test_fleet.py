"""Which instance takes the next request, what a rollout's groups are, and lines that become log events once."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.local_runtime.daemon import Daemon
from llmops_twins.aws.sagemaker.endpoints import containers
from llmops_twins.aws.sagemaker.fleet import request_metrics
from llmops_twins.aws.sagemaker.fleet.fleet import PING, AwsFleetCloud, Fleet, NoWorkerError
from llmops_twins.aws.twin import AccountTwin
from llmops_twins.core.fleet.cloud import FleetRequest, Identity
from llmops_twins.core.fleet.container_logs import LogTails
from llmops_twins.core.fleet.fleet import _Endpoint
from llmops_twins.core.fleet.plan import ContainerPlan, FleetPlan, GroupPlan, VariantPlan
from llmops_twins.core.fleet.worker import Worker, WorkerContext

ARN = "arn:aws:sagemaker:us-east-1:000000000000:endpoint/e"
CONTAINER = ContainerPlan(image="process:echo@sha256:1", reference="process:echo@sha256:1", ready=PING)


def endpoint(tmp_path: Path, *groups: tuple[str, float, dict[str, tuple[float, int]]]) -> _Endpoint:
    """An endpoint whose instances are all in service: (id, share, {variant: (weight, instances)}) for each group."""
    twin = AccountTwin(tmp_path)
    cloud = AwsFleetCloud(twin)
    place = WorkerContext(twin, cloud, Daemon(tmp_path), LogTails(twin, cloud), lambda *_: None)
    plans, workers = [], {}
    for group, share, variants in groups:
        planned = []
        for name, (weight, count) in variants.items():
            ids = [f"{group}-{name}-{number}" for number in range(count)]
            planned.append(VariantPlan(name=name, weight=weight, instances=ids, container=CONTAINER))
            for instance in ids:
                workers[instance] = Worker(Identity(instance, name, "e", ARN), CONTAINER, place, lambda: None)
                workers[instance].ready = True
        plans.append(GroupPlan(id=group, share=share, variants=planned))
    return _Endpoint(FleetPlan(id=ARN, name="e", groups=plans), workers=workers)


def taken(found: _Endpoint, times: int, variant: str = "") -> Counter[str]:
    """How many requests each instance got."""
    chosen = [found.choose(variant) for _ in range(times)]
    return Counter(each[0].identity.id for each in chosen if each)


def test_shares_and_weights_hold_exactly(tmp_path: Path) -> None:
    found = endpoint(
        tmp_path, ("old", 75.0, {"a": (3.0, 1), "b": (1.0, 1)}), ("new", 25.0, {"a": (3.0, 1), "b": (1.0, 1)})
    )
    assert taken(found, 32) == {"old-a-0": 18, "old-b-0": 6, "new-a-0": 6, "new-b-0": 2}


def test_a_target_variant_goes_by_the_groups_alone(tmp_path: Path) -> None:
    found = endpoint(tmp_path, ("old", 50.0, {"a": (1.0, 1), "b": (0.0, 1)}), ("new", 50.0, {"b": (1.0, 1)}))
    assert taken(found, 4, "b") == {"old-b-0": 2, "new-b-0": 2}
    assert found.choose("c") is None
    assert found.why_none("c") == "Variant c not found for endpoint e."


def test_the_instance_with_the_fewest_requests_is_next(tmp_path: Path) -> None:
    found = endpoint(tmp_path, ("one", 100.0, {"a": (1.0, 3)}))
    assert taken(found, 6) == {"one-a-0": 2, "one-a-1": 2, "one-a-2": 2}
    found.workers["one-a-0"].in_flight = found.workers["one-a-1"].in_flight = 1
    assert taken(found, 3) == {"one-a-2": 3}


def test_who_is_not_in_service_gives_its_share_to_the_others(tmp_path: Path) -> None:
    found = endpoint(tmp_path, ("old", 90.0, {"a": (1.0, 2)}), ("new", 10.0, {"a": (1.0, 1)}))
    found.workers["old-a-0"].ready = False
    found.workers["old-a-1"].end()
    assert taken(found, 3) == {"new-a-0": 3}
    found.workers["new-a-0"].ready = False
    found.workers["new-a-0"].problem = "it ended"
    assert found.choose("") is None
    assert found.why_none("") == "No instance of endpoint e is in service: it ended"


def test_a_group_without_a_share_gets_no_request(tmp_path: Path) -> None:
    found = endpoint(tmp_path, ("old", 100.0, {"a": (1.0, 1)}), ("new", 0.0, {"a": (1.0, 1)}))
    assert taken(found, 5) == {"old-a-0": 5}


def test_an_endpoint_without_a_plan_has_nobody(tmp_path: Path) -> None:
    with pytest.raises(NoWorkerError):
        Fleet(twin := AccountTwin(tmp_path), AwsFleetCloud(twin)).lease(ARN)


def test_a_group_grows_and_shrinks_at_its_end() -> None:
    group = {
        "id": "g",
        "share": 0.0,
        "variants": [{"name": "a", "instances": ["i-1", "i-2"]}, {"name": "b", "instances": []}],
    }
    containers.resize(group, {"a": 3, "b": 2}, 50)
    assert group["variants"][0]["instances"] == ["i-1", "i-2"]
    assert len(group["variants"][1]["instances"]) == 1
    containers.resize(group, {"a": 1, "b": 1})
    assert group["variants"][0]["instances"] == ["i-1"]


def test_shares_of_two_groups_and_of_the_one_that_stays() -> None:
    document: dict[str, Any] = {"groups": [{"id": "old", "share": 100.0}, {"id": "new", "share": 0.0}]}
    containers.share(document, "new", 30)
    assert [group["share"] for group in document["groups"]] == [70.0, 30]
    containers.keep_group(document, "new")
    assert document["groups"] == [{"id": "new", "share": 100.0}]
    containers.keep_group(document, None)
    assert document["groups"] == []


@pytest.mark.parametrize(("status", "errors"), [(200, (0, 0)), (404, (1, 0)), (500, (0, 1)), (0, (0, 1))])
def test_a_request_counts_as(status: int, errors: tuple[int, int]) -> None:
    request = FleetRequest(ARN, "e", "v", status, 4, 0.5, 0.001, 0.25)
    values = {name: value for name, value, _ in request_metrics.values(request)}
    assert (values["Invocation4XXErrors"], values["Invocation5XXErrors"]) == errors
    assert values["InvocationsPerInstance"] == 0.25
    assert (values["ModelLatency"], values["FirstChunkModelLatency"]) == (5e5, 2.5e5)


def test_a_request_counts_for_its_variant_and_for_the_fleet_of_its_configuration(tmp_path: Path) -> None:
    """So that an alarm can watch the new fleet alone."""
    from llmops_twins.aws.services.cloudwatch.metrics import CloudWatchMetric, in_window

    twin = AccountTwin(tmp_path)
    for group, status in (("old", 500), ("new", 200)):
        request_metrics.put(twin, [(1.0, FleetRequest(ARN, "e", "v", status, 1, 0.5, 0.001, None, group))], {})

    def errors(*more: tuple[str, str]) -> list[float]:
        metric = CloudWatchMetric(
            "AWS/SageMaker", "Invocation5XXErrors", (*more, ("EndpointName", "e"), ("VariantName", "v"))
        )
        return [point[2] for point in in_window(twin, "us-east-1", metric, 0, 2)]

    assert errors() == [1.0, 0.0]
    assert errors(("EndpointConfigName", "new")) == [0.0]
    assert errors(("EndpointConfigName", "old")) == [1.0]


def lines(twin: AccountTwin) -> list[str]:
    from moto.logs.models import logs_backends

    return [
        event.message
        for event in logs_backends[twin.account]["us-east-1"]
        .groups["/aws/sagemaker/Endpoints/e"]
        .streams["v/i-1"]
        .events
    ]


def test_lines_are_read_once_over_rotations_and_restarts(tmp_path: Path) -> None:
    twin, file = AccountTwin(tmp_path), tmp_path / "a.log"
    tails = LogTails(twin, AwsFleetCloud(twin))
    tails.add(Identity("i-1", "v", "e", ARN), file)
    tails.read()  # there is no file yet
    file.write_text("one\ntw")
    tails.read()
    assert lines(twin) == ["one"]
    with file.open("a") as f:
        f.write("o\nthree\n")
    file.rename(tmp_path / "a.log.1")
    file.write_text("four\nfi")
    tails.read("i-1")
    assert lines(twin) == ["one", "two", "three", "four"]
    tails.end()
    again = LogTails(twin, AwsFleetCloud(twin))  # of the next process, with the state of the last one
    again.add(Identity("i-1", "v", "e", ARN), file)
    with file.open("a") as f:
        f.write("ve")
    again.read()
    assert lines(twin)[-1] == "four"
    again.close("i-1")
    assert lines(twin) == ["one", "two", "three", "four", "five"]
    assert twin.state["fleet-logs"] == {}
