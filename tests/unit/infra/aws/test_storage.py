"""The key and the buckets: private, versioned, encrypted, TLS only; versions never expire."""

import json
from typing import Any

import pytest

from tests.unit.infra.aws.conftest import ACCOUNT, REGION, Account
from tests.unit.infra.program import Declared

KEPT = " (llmops down keeps it)"
BUCKETS = {"store": KEPT, "work": ""}


@pytest.fixture(scope="module")
def declared(account: Account) -> Declared:
    return account.provision({})


def of(declared: Declared, bucket: str, part: str = "") -> dict[str, Any]:
    return declared.of(f"{bucket}{part}{BUCKETS[bucket]}")


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_private_versioned_and_encrypted(bucket: str, declared: Declared, account: Account) -> None:
    assert of(declared, bucket)["bucket"] == account.bucket(bucket)
    access = of(declared, bucket, "-access")
    assert all(access[k] for k in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"))
    assert of(declared, bucket, "-versioning")["versioningConfiguration"] == {"status": "Enabled"}
    assert of(declared, bucket, "-ownership")["rule"] == {"objectOwnership": "BucketOwnerEnforced"}
    (rule,) = of(declared, bucket, "-encryption")["rules"]
    assert rule["bucketKeyEnabled"] is True
    assert rule["applyServerSideEncryptionByDefault"] == {
        "sseAlgorithm": "aws:kms",
        "kmsMasterKeyId": f"arn:of:data-key{KEPT}",
    }


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_answers_over_tls_alone(bucket: str, declared: Declared, account: Account) -> None:
    (statement,) = json.loads(of(declared, bucket, "-policy")["policy"])["Statement"]
    arn = f"arn:aws:s3:::{account.bucket(bucket)}"
    assert statement == {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:*"],
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_runs_expire_and_versions_never_do(account: Account) -> None:
    declared = account.provision({"aws": {"runs_days": 11}})
    expiring = {}
    for bucket in BUCKETS:
        rules = of(declared, bucket, "-lifecycle")["rules"]
        assert {r["status"] for r in rules} == {"Enabled"}
        leftovers = next(r for r in rules if r["id"] == "leftovers")
        assert leftovers["noncurrentVersionExpiration"] == {"noncurrentDays": 30}
        assert leftovers["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 7}
        assert "expiration" not in leftovers
        expiring[bucket] = {r["filter"]["prefix"]: r["expiration"]["days"] for r in rules if "expiration" in r}
    assert expiring["store"] == {}
    assert expiring["work"].items() >= {"runs/": 11, "captures/": 11, "async/": 11}.items()
    assert "schedules/" not in expiring["work"]


def test_the_store_is_never_emptied_by_pulumi(declared: Declared) -> None:
    assert of(declared, "store")["forceDestroy"] is False
    assert of(declared, "work")["forceDestroy"] is True


def test_the_data_key_rotates_and_serves_this_account_alone(declared: Declared) -> None:
    key = declared.of(f"data-key{KEPT}")
    assert key["enableKeyRotation"] is True
    assert key["deletionWindowInDays"] == 30
    statements = json.loads(key["policy"])["Statement"]
    principals = [s["Principal"] for s in statements]
    assert principals[0] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert all("*" not in json.dumps(p) for p in principals)
    assert "kms:*" not in {a for s in statements for a in s["Action"]}
    for statement in statements[1:]:
        assert statement["Condition"], "a service uses it for this account's things alone"
    logs = next(s for s in statements if s["Principal"] == {"Service": f"logs.{REGION}.amazonaws.com"})
    assert logs["Condition"]["ArnLike"] == {
        "kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/*"
    }
    assert declared.of(f"data-key-alias{KEPT}")["name"].startswith("alias/llmops-demo-data-")
