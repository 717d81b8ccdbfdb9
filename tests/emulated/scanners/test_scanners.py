"""What the program declares, judged by other people's rules: no finding outside of accepted.toml."""

import json
import re
from pathlib import Path

import pytest

from llmops.platforms.aws.bootstrap import Names
from llmops.platforms.aws.bootstrap_boundary import boundary
from llmops.platforms.aws.bootstrap_deploy import deploy_boundary, deploy_policy
from llmops.platforms.aws.bootstrap_policies import preview_policy, promote_policy
from llmops.platforms.aws.bootstrap_reach import Reach
from tests.emulated.scanners.conftest import Deployed
from tests.support.aws import REGION
from tests.support.scanners import differences, scan
from tests.support.terraform_plan import plan_of

SERVICES = ["cloudwatch", "ecr", "iam", "kms", "s3", "sagemaker", "sns"]


@pytest.mark.scorecard("iam-lint")
def test_parliament_over_the_roles(deployed: Deployed) -> None:
    policies = [
        each["inputs"]["policy"]
        for each in deployed.state["deployment"]["resources"]
        if each["type"].endswith(":RolePolicy")
    ]
    assert len(policies) == 3
    assert differences("parliament", {each for policy in policies for each in linted(policy)}) == []


@pytest.mark.scorecard("iam-lint")
def test_parliament_over_the_policies_of_bootstrap() -> None:
    reach = Reach(Names("llmops", "123456789012", REGION), f"arn:aws:kms:{REGION}:123456789012:key/{'0' * 36}")
    documents = (deploy_policy, deploy_boundary, boundary, preview_policy, promote_policy)
    found = {f"{make.__name__} {each}" for make in documents for each in linted(json.dumps(make(reach)))}
    assert differences("parliament-bootstrap", found) == []


def linted(policy: str) -> set[str]:
    """What parliament finds in a policy: `ISSUE action`; without an action, what it says, or the issue alone."""
    found = set()
    for line in scan("parliament", "--json", "--include-community-auditors", given=policy).splitlines():
        finding = json.loads(line)
        said = finding["detail"] if isinstance(finding["detail"], str) else ""
        for action in finding["location"].get("actions") or [said or str(finding["location"].get("string", ""))]:
            found.add(f"{finding['issue']} {action}".strip())
    return found


def test_parliament_finds_what_is_wrong() -> None:
    wrong = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Nothing", "Resource": "*"}]}
    assert "UNKNOWN_ACTION" in scan("parliament", "--json", given=json.dumps(wrong))


def test_checkov_over_the_program(deployed: Deployed, tmp_path: Path) -> None:
    plan = tmp_path / "tfplan.json"
    plan.write_text(json.dumps(plan_of(deployed.state)))
    report = checkov(plan)
    assert report["summary"]["passed"] > 90
    assert report["summary"]["parsing_errors"] == 0
    found = {f"{each['check_id']} {readable(each['resource'])}" for each in report["results"]["failed_checks"]}
    assert differences("checkov", found) == []


def test_checkov_finds_what_is_wrong(deployed: Deployed, tmp_path: Path) -> None:
    plan = plan_of(deployed.state)
    for each in [*plan["planned_values"]["root_module"]["resources"]]:
        if each["type"] == "aws_s3_bucket_public_access_block":
            each["values"]["block_public_acls"] = False
    for each in plan["resource_changes"]:
        if each["type"] == "aws_s3_bucket_public_access_block":
            each["change"]["after"]["block_public_acls"] = False
    wrong = tmp_path / "tfplan.json"
    wrong.write_text(json.dumps(plan))
    failed = {each["check_id"] for each in checkov(wrong)["results"]["failed_checks"]}
    assert {"CKV_AWS_53", "CKV2_AWS_6"} <= failed


def checkov(plan: Path) -> dict:
    options = ["--framework", "terraform_plan", "--output", "json", "--quiet", "--compact", "--skip-download"]
    report = json.loads(scan("checkov", "--file", str(plan), *options))
    return report[0] if isinstance(report, list) else report


def readable(address: str) -> str:
    return re.sub(r"_llmops_down_keeps_it$", "", address)


def test_prowler_over_the_account(deployed: Deployed, tmp_path: Path) -> None:
    environ = {name: value for name, value in deployed.account.environ.items() if name.startswith("AWS_")}
    options = ["--output-formats", "json-ocsf", "--output-directory", str(tmp_path), "--output-filename", "found"]
    scan("prowler", "aws", "--region", REGION, "--services", *SERVICES, *options, "--no-banner", environ=environ)
    report = json.loads((tmp_path / "found.ocsf.json").read_text())
    passed = {each["metadata"]["event_code"] for each in report if each["status_code"] == "PASS"}
    failed = {each["metadata"]["event_code"] for each in report if each["status_code"] == "FAIL"}
    assert len(passed) > 40
    assert {"sagemaker_models_network_isolation_enabled", "sagemaker_models_vpc_settings_configured"} <= passed
    assert differences("prowler", failed) == []


def test_an_accepted_finding_that_is_gone_is_told() -> None:
    gone = differences("checkov", ["CKV_AWS_999 aws_s3_bucket.store"])
    assert "not accepted: CKV_AWS_999 aws_s3_bucket.store" in gone
    assert "accepted, but found no more: CKV_AWS_18 aws_s3_bucket.store" in gone
