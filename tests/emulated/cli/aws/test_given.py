"""Stand-ins on a twin for what a company gave to a stack, so that its policy can be recorded."""

from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.recording.stand_ins import make_given

ACCOUNT = "111111111111"
GIVEN = {
    "region": "eu-west-1",
    "profile": "work",
    "kms_key_arn": f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/data",
    "signing_key_arn": f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/signing",
    "store_bucket": "given-store-7c1e",
    "permissions_boundary_arn": f"arn:aws:iam::{ACCOUNT}:policy/developers",
    "roles": {"endpoint": f"arn:aws:iam::{ACCOUNT}:role/team/serving", "training": ""},
    "registry": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/team",
    "network": {"mode": "existing", "subnet_ids": ["subnet-a", "subnet-b"], "security_group_ids": ["sg-a"]},
    "log_retention_days": 30,
}


def test_what_was_given_is_there_on_the_twin_and_leads_back_to_its_name(clients: AwsClients) -> None:
    settings, moved = make_given(GIVEN)
    twin = clients.caller
    assert "profile" not in settings
    assert settings["log_retention_days"] == 30
    for key in ("kms_key_arn", "signing_key_arn"):
        assert moved[settings[key]] == GIVEN[key]
        assert clients("kms").describe_key(KeyId=settings[key])["KeyMetadata"]["Enabled"]
    clients("s3").head_bucket(Bucket="given-store-7c1e")
    assert moved[settings["permissions_boundary_arn"]] == GIVEN["permissions_boundary_arn"]
    (role,) = settings["roles"].values()
    assert moved[role] == f"arn:aws:iam::{ACCOUNT}:role/team/serving"
    assert clients("iam").get_role(RoleName="serving")["Role"]["Arn"] == role
    assert settings["registry"] == f"{twin.account}.dkr.ecr.{twin.region}.amazonaws.com/team"
    names = [r["repositoryName"] for r in clients("ecr").describe_repositories()["repositories"]]
    assert {"team/training", "team/serving"} <= set(names)
    network = settings["network"]
    assert [moved[i] for i in (*network["subnet_ids"], *network["security_group_ids"])] == [
        "subnet-a",
        "subnet-b",
        "sg-a",
    ]
    subnets = clients("ec2").describe_subnets(SubnetIds=network["subnet_ids"])["Subnets"]
    assert len({s["AvailabilityZone"] for s in subnets}) == 2


def test_nothing_given_makes_nothing(clients: AwsClients) -> None:
    assert make_given({"tags": {"team": "a"}, "network": {"mode": "own"}}) == (
        {"tags": {"team": "a"}, "network": {"mode": "own"}},
        {},
    )
