"""`audit: true`: a trail of keys and store, in a bucket where nobody deletes it, with alarms."""

import json
from typing import Any

import pytest

from tests.unit.infra.aws.conftest import ACCOUNT, REGION, Account
from tests.unit.infra.program import Declared

KEPT = " (llmops down keeps it)"
TRAIL = "aws:cloudtrail/trail:Trail"


@pytest.fixture(scope="module")
def declared(account: Account) -> Declared:
    return account.provision({"aws": {"audit": True, "log_retention_days": 90}})


def statements(text: str, service: str) -> list[dict[str, Any]]:
    """The statements of a policy that allow a service something."""
    return [each for each in json.loads(text)["Statement"] if each["Principal"] == {"Service": service}]


def test_without_it_there_is_no_trail_and_no_key_of_one(account: Account) -> None:
    declared = account.provision({})
    assert TRAIL not in declared.types()
    assert "cloudtrail" not in declared.of(f"data-key{KEPT}")["policy"]


def test_the_trail_records_uses_of_keys_and_objects_of_the_store(account: Account, declared: Declared) -> None:
    (trail,) = declared.all_of(TRAIL)
    management, data = ({f["field"]: f for f in each["fieldSelectors"]} for each in trail["advancedEventSelectors"])
    assert management["eventCategory"]["equals"] == ["Management"]
    assert set(management) == {"eventCategory"}, "kms:Sign is a management event that reads"
    assert data["resources.ARN"]["startsWiths"] == [f"arn:aws:s3:::{account.bucket('store')}/"]
    assert (trail["isMultiRegionTrail"], trail["enableLogFileValidation"]) == (True, True)
    assert trail["kmsKeyId"]


@pytest.mark.scorecard("audit-log")
def test_its_files_are_locked_and_written_by_this_trail_alone(account: Account, declared: Declared) -> None:
    bucket, name = declared.of(f"audit{KEPT}"), account.bucket("audit")
    assert (bucket["bucket"], bucket["objectLockEnabled"], bucket["forceDestroy"]) == (name, True, False)
    retention = declared.of(f"audit-lock{KEPT}")["rule"]["defaultRetention"]
    assert retention == {"mode": "COMPLIANCE", "days": 90}
    expiring = {r["id"]: r.get("expiration") for r in declared.of(f"audit-lifecycle{KEPT}")["rules"]}
    assert expiring["AWSLogs"] == {"days": 90}
    trail = f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/{account.names.of('audit')}"
    granted = statements(declared.of(f"audit-policy{KEPT}")["policy"], "cloudtrail.amazonaws.com")
    assert {each["Action"][0] for each in granted} == {"s3:GetBucketAcl", "s3:PutObject"}
    granted += statements(declared.of(f"data-key{KEPT}")["policy"], "cloudtrail.amazonaws.com")
    assert len(granted) == 3
    for each in granted:
        assert each["Condition"]["StringEquals"]["aws:SourceArn"] == trail


def test_its_role_writes_its_own_streams_alone(account: Account, declared: Declared) -> None:
    role = declared.of(f"role-audit{KEPT}")
    assert role["path"] == "/llmops-audit/llmops/", "not where the deploy role changes roles"
    (statement,) = json.loads(declared.of(f"role-audit-policy{KEPT}")["policy"])["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    group = f"/aws/cloudtrail/{account.names.of('audit')}"
    assert statement["Resource"] == [f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:log-stream:*"]


def test_a_signature_and_a_change_of_what_records_it_are_told(account: Account, declared: Declared) -> None:
    patterns = {what: declared.of(f"audit-{what}")["pattern"] for what in ("signed", "changed")}
    assert patterns["signed"].startswith('{ ($.eventName = "Sign") && (($.resources[0].ARN = "')
    for event in ("StopLogging", "PutEventSelectors", "DisableKey", "DeleteBucketPolicy"):
        assert f"($.eventName = {event})" in patterns["changed"]
    for bucket in ("store", "audit"):
        assert f'"{account.bucket(bucket)}"' in patterns["changed"]
    assert max(map(len, patterns.values())) <= 1024
    for what in patterns:
        alarm = declared.of(f"alarm-audit-{what}")
        assert (alarm["threshold"], alarm["statistic"]) == (0, "Sum")
        assert alarm["alarmActions"]
