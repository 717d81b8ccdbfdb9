"""What the program declares, judged by other people's rules: no finding outside of accepted.toml."""

import json
import re
from pathlib import Path

import pytest

from llmops_kit.cli.platforms.aws.bootstrap.boundary import boundary
from llmops_kit.cli.platforms.aws.bootstrap.deploy import deploy_boundary, deploy_policy
from llmops_kit.cli.platforms.aws.bootstrap.names import AwsNames
from llmops_kit.cli.platforms.aws.bootstrap.policies import preview_policy, promote_policy
from llmops_kit.cli.platforms.aws.bootstrap.reach import Reach
from tests.emulated.scanners.company import COMPANY, WRONG, make_wrong, set_up
from tests.emulated.scanners.conftest import Deployed
from tests.support.clouds.aws import REGION
from tests.support.clouds.mutations import WORSE_ON_AWS, cured_plan, worse_plan
from tests.support.clouds.scanners import accepted_findings, differences, scan
from tests.support.clouds.terraform_plan import plan_of

NOT_ON_THE_TWIN = {
    "cloudtrail_bucket_requires_mfa_delete",
    "cloudtrail_cloudwatch_logging_enabled",
    "s3_bucket_no_mfa_delete",
    "sagemaker_clarify_exists",
    "sagemaker_models_monitor_enabled",
}
"""Findings that nothing on the twin can cure: it keeps no MFADelete, delivers no events of trails, and runs no Clarify
and no Model Monitor.
"""
SERVICES = ["cloudtrail", "cloudwatch", "ecr", "iam", "kms", "s3", "sagemaker", "sns"]


@pytest.mark.scorecard("iam-lint")
def test_parliament_over_the_roles(deployed: Deployed) -> None:
    policies = [
        each["inputs"]["policy"]
        for each in deployed.state["deployment"]["resources"]
        if each["type"].endswith(":RolePolicy")
    ]
    assert len(policies) == 4
    assert differences("parliament", {each for policy in policies for each in linted(policy)}) == []


@pytest.mark.scorecard("iam-lint")
def test_parliament_over_the_policies_of_bootstrap() -> None:
    reach = Reach(AwsNames("llmops", "123456789012", REGION), f"arn:aws:kms:{REGION}:123456789012:key/{'0' * 36}")
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


@pytest.mark.scorecard("scanner-sensitivity")
def test_parliament_finds_what_is_wrong() -> None:
    wrong = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Nothing", "Resource": "*"}]}
    assert "UNKNOWN_ACTION" in scan("parliament", "--json", given=json.dumps(wrong))


@pytest.fixture(scope="module")
def findings(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[set[str], set[str]]]:
    """What checkov passes and fails: of the stack as it is, made worse, and cured, all in one run."""
    folder, plan = tmp_path_factory.mktemp("plans"), plan_of(deployed.state)
    plans = {"stack": plan, "worse": worse_plan(plan, WORSE_ON_AWS), "cured": cured_plan(plan)}
    for which, each in plans.items():
        (folder / f"{which}.json").write_text(json.dumps(each))
    files = [word for which in plans for word in ("--file", str(folder / f"{which}.json"))]
    options = ["--framework", "terraform_plan", "--output", "json", "--compact", "--skip-download"]
    report = json.loads(scan("checkov", *files, *options))
    assert report["summary"]["parsing_errors"] == 0

    def told(which: str, result: str) -> set[str]:
        checks = report["results"][f"{result}_checks"]
        return {
            f"{each['check_id']} {readable(each['resource'])}"
            for each in checks
            if Path(each["file_path"]).stem == which
        }

    return {which: (told(which, "passed"), told(which, "failed")) for which in plans}


@pytest.mark.scorecard("checkov")
def test_checkov_over_the_program(findings: dict[str, tuple[set[str], set[str]]]) -> None:
    passed, failed = findings["stack"]
    assert len(passed) > 90
    assert differences("checkov", failed) == []


@pytest.mark.scorecard("scanner-sensitivity")
def test_checkov_finds_what_is_wrong(findings: dict[str, tuple[set[str], set[str]]]) -> None:
    found = {each.split()[0] for each in findings["worse"][1] - findings["stack"][1]}
    assert found == {
        *(f"CKV2_AWS_{number}" for number in (6, 40)),
        *(f"CKV_AWS_{number}" for number in (7, 19, 21, 24, 25, 33, 51, 53, 54, 55, 56, 60, 62, 63, 66, 70)),
        *(f"CKV_AWS_{number}" for number in (130, 136, 145, 163, 169, 260, 286, 287, 288, 289, 290, 300, 355, 370)),
    }


@pytest.mark.scorecard("scanner-sensitivity")
def test_checkov_is_awake_for_each_accepted_finding(findings: dict[str, tuple[set[str], set[str]]]) -> None:
    """It passes a stack that has what ours lacks: so it has looked, and an acceptance hides one thing alone."""
    assert accepted_findings("checkov") <= findings["stack"][1] & findings["cured"][0]


def readable(address: str) -> str:
    return re.sub(r"_llmops_down_keeps_it$", "", address)


@pytest.fixture(scope="module")
def prowled(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], set[str]]:
    """Checks that prowler passes and fails, by (whose, status): the stack's, the company's, or wrong; in one run."""
    folder = tmp_path_factory.mktemp("prowler")
    set_up(deployed.account)
    wrong = (WRONG, *make_wrong(deployed.account))
    environ = {name: value for name, value in deployed.account.environ.items() if name.startswith("AWS_")}
    options = ["--output-formats", "json-ocsf", "--output-directory", str(folder), "--output-filename", "found"]
    scan("prowler", "aws", "--region", REGION, "--services", *SERVICES, *options, "--no-banner", environ=environ)
    found: dict[tuple[str, str], set[str]] = {}
    for each in json.loads((folder / "found.ocsf.json").read_text()):
        names = " ".join(f"{resource['uid']} {resource['name']}" for resource in each["resources"])
        whose = WRONG if any(each in names for each in wrong) else COMPANY if COMPANY in names else "stack"
        found.setdefault((whose, each["status_code"]), set()).add(each["metadata"]["event_code"])
    return found


@pytest.mark.scorecard("prowler")
def test_prowler_over_the_account(prowled: dict[tuple[str, str], set[str]]) -> None:
    passed = prowled["stack", "PASS"]
    assert len(passed) > 40
    assert {f"cloudtrail_{each}" for each in ("kms_encryption_enabled", "multi_region_enabled")} <= passed
    assert {f"cloudtrail_s3_dataevents_{each}_enabled" for each in ("read", "write")} <= passed
    assert {"sagemaker_models_network_isolation_enabled", "sagemaker_models_vpc_settings_configured"} <= passed
    assert differences("prowler", prowled["stack", "FAIL"]) == []


@pytest.mark.scorecard("scanner-sensitivity")
def test_prowler_finds_what_is_wrong(prowled: dict[tuple[str, str], set[str]]) -> None:
    assert prowled[WRONG, "FAIL"] >= {
        "cloudwatch_log_group_kms_encryption_enabled",
        "ecr_repositories_lifecycle_policy_enabled",
        "ecr_repositories_scan_images_on_push_enabled",
        "ecr_repositories_tag_immutability",
        "iam_aws_attached_policy_no_administrative_privileges",
        "iam_customer_unattached_policy_no_administrative_privileges",
        "iam_policy_attached_only_to_group_or_roles",
        "iam_role_cross_service_confused_deputy_prevention",
        "iam_user_administrator_access_policy",
        "kms_cmk_rotation_enabled",
        "s3_bucket_kms_encryption",
        "s3_bucket_lifecycle_enabled",
        "s3_bucket_object_versioning",
        "s3_bucket_secure_transport_policy",
        "sns_topics_kms_encryption_at_rest_enabled",
    }


@pytest.mark.scorecard("scanner-sensitivity")
def test_prowler_is_awake_for_each_accepted_finding(prowled: dict[tuple[str, str], set[str]]) -> None:
    """It passes the company's own things, which have what the stack's lack; a copy in another region it can't see."""
    awake = prowled[COMPANY, "PASS"] | prowled["stack", "PASS"] | prowled[COMPANY, "MANUAL"]
    assert accepted_findings("prowler") - awake == NOT_ON_THE_TWIN


def test_an_accepted_finding_that_is_gone_is_told() -> None:
    gone = differences("checkov", ["CKV_AWS_999 aws_s3_bucket.store"])
    assert "not accepted: CKV_AWS_999 aws_s3_bucket.store" in gone
    assert "accepted, but found no more: CKV_AWS_18 aws_s3_bucket.store" in gone
