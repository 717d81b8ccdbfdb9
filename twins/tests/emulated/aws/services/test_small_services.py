"""ECR, SNS, SQS, Secrets Manager, budgets, quotas, tags, prices: what moto loses or answers wrongly."""

import hashlib
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from twins.tests.support.aws import REGION, RunningTwin

ACCOUNT = "000000000000"
V2 = "application/vnd.docker.distribution.manifest.v2+json"
BUDGET = {
    "BudgetName": "kit",
    "BudgetLimit": {"Amount": "100", "Unit": "USD"},
    "TimeUnit": "MONTHLY",
    "BudgetType": "COST",
}
NOTICE = {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": 80.0}


def test_image_has_its_manifests_digest_and_an_immutable_tag(twin: RunningTwin) -> None:
    """moto gives all images of the same layers one digest."""
    ecr = twin.client("ecr")
    ecr.create_repository(repositoryName="kit/serving", imageTagMutability="IMMUTABLE")
    first, second = _manifest(ecr, b"a"), _manifest(ecr, b"b")
    made = ecr.put_image(repositoryName="kit/serving", imageManifest=first, imageTag="v1")["image"]["imageId"]
    assert made["imageDigest"] == "sha256:" + hashlib.sha256(first.encode()).hexdigest()
    with pytest.raises(ecr.exceptions.ImageTagAlreadyExistsException):
        ecr.put_image(repositoryName="kit/serving", imageManifest=second, imageTag="v1")
    ecr.put_image(repositoryName="kit/serving", imageManifest=first, imageTag="v2")
    asked = [{"imageTag": "v1"}, {"imageDigest": "sha256:" + "0" * 64}]
    found = ecr.batch_get_image(repositoryName="kit/serving", imageIds=asked)
    assert found["images"][0]["imageId"]["imageDigest"] == made["imageDigest"]
    assert found["failures"][0]["imageId"] == asked[1]
    with pytest.raises(ecr.exceptions.ImageDigestDoesNotMatchException):
        ecr.put_image(repositoryName="kit/serving", imageManifest=second, imageDigest="sha256:" + "0" * 64)
    key = {"encryptionType": "KMS", "kmsKey": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/none"}
    with pytest.raises(ecr.exceptions.KmsException):
        ecr.create_repository(repositoryName="kit/other", encryptionConfiguration=key)


def test_an_image_without_its_layers_is_refused(twin: RunningTwin) -> None:
    ecr = twin.client("ecr")
    ecr.create_repository(repositoryName="kit/layers")
    layer = {
        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "size": 1,
        "digest": "sha256:" + "1" * 64,
    }
    manifest = json.dumps({"schemaVersion": 2, "mediaType": V2, "layers": [layer]})
    with pytest.raises(ecr.exceptions.LayersNotFoundException, match=layer["digest"]):
        ecr.put_image(repositoryName="kit/layers", imageManifest=manifest, imageTag="v1")
    assert ecr.describe_images(repositoryName="kit/layers")["imageDetails"] == []


def test_mail_subscription_waits_for_its_confirmation(twin: RunningTwin) -> None:
    sns = twin.client("sns")
    topic = sns.create_topic(Name="kit")["TopicArn"]
    assert (
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com")["SubscriptionArn"]
        == "pending confirmation"
    )
    arn = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="a@example.com", ReturnSubscriptionArn=True)[
        "SubscriptionArn"
    ]
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["PendingConfirmation"] == "true"
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsPending"] == "1"
    assert (
        sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"][0]["SubscriptionArn"] == "PendingConfirmation"
    )
    with pytest.raises(ClientError, match="pending confirmation"):
        sns.unsubscribe(SubscriptionArn=arn)
    sns.confirm_subscription(TopicArn=topic, Token=arn.rpartition(":")[2])
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["PendingConfirmation"] == "false"
    sns.unsubscribe(SubscriptionArn=arn)


def test_topic_keeps_every_attribute_and_refuses_others(twin: RunningTwin) -> None:
    sns = twin.client("sns")
    topic = sns.create_topic(Name="attributes", Attributes={"TracingConfig": "Active"})["TopicArn"]
    sns.set_topic_attributes(TopicArn=topic, AttributeName="SignatureVersion", AttributeValue="2")
    shown = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert (shown["TracingConfig"], shown["SignatureVersion"]) == ("Active", "2")
    with pytest.raises(ClientError, match="Invalid parameter: AttributeName"):
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Colour", AttributeValue="red")
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT}:role/none"}
    policy = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sns:Publish", "Resource": topic}]}
    with pytest.raises(ClientError, match="PrincipalNotFound"):
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy))


def test_a_topic_is_made_again_with_the_same_attributes_alone(twin: RunningTwin) -> None:
    sns = twin.client("sns")
    given = {"DisplayName": "alarms", "SignatureVersion": "2"}
    topic = sns.create_topic(Name="again", Attributes=given)["TopicArn"]
    assert sns.create_topic(Name="again", Attributes=given)["TopicArn"] == topic
    assert sns.create_topic(Name="again")["TopicArn"] == topic
    for other in ({"DisplayName": "other"}, {"SignatureVersion": "1"}, {"KmsMasterKeyId": "alias/aws/sns"}):
        with pytest.raises(ClientError, match="Topic already exists with different attributes") as refused:
            sns.create_topic(Name="again", Attributes=other)
        assert refused.value.response["Error"]["Code"] == "InvalidParameter"
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["DisplayName"] == "alarms"


def test_queue_has_one_kind_of_encryption(twin: RunningTwin) -> None:
    sqs = twin.client("sqs")
    url = sqs.create_queue(QueueName="kms", Attributes={"KmsMasterKeyId": "alias/aws/sqs"})["QueueUrl"]
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert shown["SqsManagedSseEnabled"] == "false"
    assert shown["CreatedTimestamp"].isdigit()


def test_name_of_a_dying_secret_is_reserved(twin: RunningTwin) -> None:
    secrets = twin.client("secretsmanager")
    arn = secrets.create_secret(Name="kit", SecretString="s")["ARN"]
    assert secrets.list_secret_version_ids(SecretId="kit")["ARN"] == arn
    secrets.delete_secret(SecretId="kit", RecoveryWindowInDays=7)
    with pytest.raises(secrets.exceptions.InvalidRequestException, match="already scheduled for deletion"):
        secrets.create_secret(Name="kit")


def test_budget_keeps_subscribers_and_tags(twin: RunningTwin) -> None:
    budgets = twin.client("budgets")
    subscribers = [
        {"SubscriptionType": "EMAIL", "Address": "a@example.com"},
        {"SubscriptionType": "SNS", "Address": f"arn:aws:sns:{REGION}:{ACCOUNT}:kit"},
    ]
    budgets.create_budget(AccountId=ACCOUNT, Budget=BUDGET, ResourceTags=[{"Key": "a", "Value": "b"}])
    named = {"AccountId": ACCOUNT, "BudgetName": "kit"}
    budgets.create_notification(**named, Notification=NOTICE, Subscribers=subscribers)
    shown = budgets.describe_subscribers_for_notification(**named, Notification=NOTICE)["Subscribers"]
    assert shown == subscribers
    assert budgets.describe_budget(**named)["Budget"]["BudgetLimit"]["Amount"] == "100.0"
    assert budgets.list_tags_for_resource(ResourceARN=f"arn:aws:budgets::{ACCOUNT}:budget/kit")["ResourceTags"] == [
        {"Key": "a", "Value": "b"}
    ]
    with pytest.raises(budgets.exceptions.DuplicateRecordException, match="the budget already exists"):
        budgets.create_budget(AccountId=ACCOUNT, Budget=BUDGET)
    with pytest.raises(budgets.exceptions.DuplicateRecordException, match="the notification already exists"):
        budgets.create_notification(**named, Notification=NOTICE, Subscribers=subscribers)
    budgets.delete_budget(**named)
    with pytest.raises(
        budgets.exceptions.NotFoundException, match="Unable to get budget: kit - the budget doesn't exist"
    ):
        budgets.describe_budget(**named)


def test_tags_of_all_services_are_found_at_once(twin: RunningTwin, role: str, model: str) -> None:
    tags = [{"Key": "llmops:stack", "Value": "dev"}]
    sagemaker = twin.client("sagemaker")
    sagemaker.add_tags(ResourceArn=sagemaker.describe_model(ModelName=model)["ModelArn"], Tags=tags)
    twin.client("sns").create_topic(Name="tagged", Tags=tags)
    alarm = {"MetricName": "Errors", "Namespace": "Kit", "Period": 60, "Statistic": "Sum", "EvaluationPeriods": 1}
    compared = {"Threshold": 1, "ComparisonOperator": "GreaterThanThreshold"}
    twin.client("cloudwatch").put_metric_alarm(AlarmName="tagged", **alarm, **compared, Tags=tags)
    twin.client("scheduler").create_schedule_group(Name="tagged", Tags=tags)
    twin.client("budgets").create_budget(
        AccountId=ACCOUNT, Budget={**BUDGET, "BudgetName": "tagged"}, ResourceTags=tags
    )
    twin.client("logs").create_log_group(logGroupName="tagged", tags={"llmops:stack": "dev"})
    tagging = twin.client("resourcegroupstaggingapi")
    pages = tagging.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": "llmops:stack", "Values": ["dev"]}], ResourcesPerPage=2
    )
    found = {each["ResourceARN"].split(":")[2] for page in pages for each in page["ResourceTagMappingList"]}
    assert {"sagemaker", "sns", "scheduler", "budgets", "logs", "cloudwatch"} <= found
    only = tagging.get_resources(ResourceTypeFilters=["sagemaker:model"])["ResourceTagMappingList"]
    assert [each["Tags"] for each in only] == [tags]


def test_quotas_of_sagemaker_have_their_codes(twin: RunningTwin) -> None:
    quotas = twin.client("service-quotas")
    found = quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode="L-4D27DFDD")["Quota"]
    assert found["QuotaName"] == "ml.c5.large for endpoint usage"
    listed = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker").build_full_result()["Quotas"]
    assert found in listed
    named = {each["QuotaName"]: each["Value"] for each in listed}
    assert len(named) == len(listed) > 100, "of more than one page"
    assert named["ml.m5.xlarge for spot training job usage"] == 10
    assert named["ml.p5.48xlarge for training job usage"] == 0
    with pytest.raises(quotas.exceptions.NoSuchResourceException):
        quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode="L-00000000")


def test_twin_has_no_prices_and_says_so(twin: RunningTwin) -> None:
    with pytest.raises(ClientError, match="A twin of AWS has no prices"):
        twin.client("pricing").get_products(ServiceCode="AmazonSageMaker")


def _manifest(ecr: Any, content: bytes) -> str:
    """The manifest of an image whose configuration, of this content, was pushed to kit/serving."""
    place = {
        "repositoryName": "kit/serving",
        "uploadId": ecr.initiate_layer_upload(repositoryName="kit/serving")["uploadId"],
    }
    ecr.upload_layer_part(**place, partFirstByte=0, partLastByte=len(content) - 1, layerPartBlob=content)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    ecr.complete_layer_upload(**place, layerDigests=[digest])
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(content), "digest": digest}
    return json.dumps({"schemaVersion": 2, "mediaType": V2, "config": config, "layers": []})
