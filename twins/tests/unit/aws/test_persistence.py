"""What moto keeps for the services that the kit uses can be written, and read again."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from moto.backends import get_backend

from contract.errors import KitError
from twins.aws import persistence
from twins.aws.twin import AccountTwin

SERVICES = ["s3", "iam", "sts", "kms", "ecr", "logs", "cloudwatch", "applicationautoscaling", "scheduler", "events"]
SERVICES += ["budgets", "sns", "secretsmanager", "servicequotas", "sqs", "dynamodb", "ec2"]


def again(value: Any, bodies: Path) -> Any:
    """A value as it comes back."""
    buffer = io.BytesIO()
    super(persistence._Pickler, persistence._Pickler(buffer, bodies)).dump(value)
    buffer.seek(0)
    return super(persistence._Unpickler, persistence._Unpickler(buffer, bodies)).load()


@pytest.mark.parametrize("service", SERVICES)
def test_an_empty_backend_is_written_and_read(tmp_path: Path, service: str) -> None:
    name: Any = service
    account = get_backend(name)["999999999999"]
    backend = account["us-east-1" if "us-east-1" in account.regions else "aws"]
    assert again(vars(backend), tmp_path).keys() == vars(backend).keys()


def test_versions_of_an_object_keep_their_order_and_their_bodies(tmp_path: Path) -> None:
    s3 = get_backend("s3")["999999999999"]["aws"]
    s3.create_bucket("kept-by-a-test", "us-east-1")
    s3.put_bucket_versioning("kept-by-a-test", "Enabled")
    for body in (b"first", b"second"):
        s3.put_object("kept-by-a-test", "key", body)
    found = again(s3.buckets["kept-by-a-test"], tmp_path)
    assert [key.value for key in found.keys.getlist("key")] == [b"first", b"second"]
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"first", b"second"]
    found.keys["key"].value = b"third"
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"first", b"second"]
    assert found.keys["key"].value == b"third"
    s3.delete_object("kept-by-a-test", "key")
    for key in (*found.keys.getlist("key"), *s3.buckets["kept-by-a-test"].keys.getlist("key")):
        if hasattr(key, "dispose"):
            key.dispose()


def saved(home: Path, state: dict[str, Any]) -> Path:
    """The file of a twin's state."""
    twin = AccountTwin(home)
    twin.state.update(state)
    persistence.AwsKeeper(twin).save()
    return home / "state.pickle"


def loaded(home: Path) -> dict[str, Any]:
    """What a new twin of the folder remembers."""
    twin = AccountTwin(home)
    assert persistence.AwsKeeper(twin).load()
    return twin.state


@pytest.mark.parametrize("place", ["content", "sum"])
def test_a_state_that_does_not_fit_its_sum_is_refused(tmp_path: Path, place: str) -> None:
    file = saved(tmp_path, {"word": "kept"})
    assert loaded(tmp_path) == {"word": "kept"}
    head, _, content = file.read_bytes().partition(b"\n")
    fields = json.loads(head)
    if place == "content":
        content = content.replace(b"kept", b"lost")
    else:
        del fields["sha256"]
    file.write_bytes(json.dumps(fields).encode() + b"\n" + content)
    with pytest.raises(KitError, match="SHA-256") as refused:
        loaded(tmp_path)
    assert refused.value.where == str(file)


def test_a_state_of_before_the_sum_is_taken_up_without_what_is_not_judged_any_more(tmp_path: Path) -> None:
    alarms = {"errors": {"MetricName": "Errors"}, "any": {"AlarmRule": "ALARM(errors)"}, "rate": {"Metrics": []}}
    file = saved(tmp_path, {"cloudwatch": {"eu-central-1": {"alarms": alarms}}})
    head, _, content = file.read_bytes().partition(b"\n")
    fields = {**json.loads(head), "schema": "twin-state/1"}
    del fields["sha256"]
    file.write_bytes(json.dumps(fields).encode() + b"\n" + content)
    assert set(loaded(tmp_path)["cloudwatch"]["eu-central-1"]["alarms"]) == {"errors"}
