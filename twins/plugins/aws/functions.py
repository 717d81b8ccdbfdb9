"""The functions that a program may call: what they ask the twin, and what they answer."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from twins.plugins.aws.calls import AwsError, Work
from twins.plugins.aws.session import AwsSession
from twins.plugins.plugin import Failure, ProviderError, Request

Arguments = dict[str, Any]


def invoke(session: AwsSession, token: str, arguments: Arguments) -> tuple[Arguments, list[Failure]]:
    """A function's result, with its arguments in it as the SDK expects.

    Raises:
        ProviderError: the function is not known here, or the twin refused.
    """
    function = FUNCTIONS.get(token)
    if function is None:
        known = ", ".join(sorted(FUNCTIONS))
        raise ProviderError(f"the stand-in plugin does not know the function {token}; it knows {known}")
    region = arguments.get("region") or session.region
    work = Work(Request(session, "", "aws:index:Function", ""), state={"region": region})
    try:
        result = function(work, arguments)
    except AwsError as error:
        raise ProviderError(f"invoking {token}: 1 error occurred:\n\t* {error}\n") from None
    given = {k: v for k, v in arguments.items() if v is not None}
    return {**given, "region": region, **result}, []


def _caller_identity(work: Work, given: Arguments) -> Arguments:
    told = work.call("sts", "GetCallerIdentity")
    return {"id": told["Account"], "accountId": told["Account"], "arn": told["Arn"], "userId": told["UserId"]}


def _region(work: Work, given: Arguments) -> Arguments:
    name = given.get("name") or given.get("region") or work.region
    return {"id": name, "name": name, "region": name, "description": name, "endpoint": f"ec2.{name}.amazonaws.com"}


def _partition(work: Work, given: Arguments) -> Arguments:
    partition = work.session.partition
    suffix = {"aws-cn": "amazonaws.com.cn"}.get(partition, "amazonaws.com")
    reverse = ".".join(reversed(suffix.split(".")))
    return {"id": partition, "partition": partition, "dnsSuffix": suffix, "reverseDnsPrefix": reverse}


def _zones(work: Work, given: Arguments) -> Arguments:
    parameters: dict[str, Any] = {"Filters": _filters(given)} if _filters(given) else {}
    if given.get("state"):
        parameters.setdefault("Filters", []).append({"Name": "state", "Values": [given["state"]]})
    zones = work.call("ec2", "DescribeAvailabilityZones", **parameters)["AvailabilityZones"]
    left_out = {*given.get("excludeNames", []), *given.get("excludeZoneIds", [])}
    zones = sorted((z for z in zones if not {z["ZoneName"], z.get("ZoneId")} & left_out), key=lambda z: z["ZoneName"])
    return {
        "id": work.region,
        "names": [z["ZoneName"] for z in zones],
        "zoneIds": [z.get("ZoneId", "") for z in zones],
        "groupNames": sorted({z.get("GroupName", work.region) for z in zones}),
    }


def _policy_document(work: Work, given: Arguments) -> Arguments:
    statements = []
    for told in given.get("statements") or []:
        statement = {
            "Sid": told.get("sid"),
            "Effect": told.get("effect") or "Allow",
            **{
                api: _one_or_all(told.get(name))
                for name, api in (
                    ("actions", "Action"),
                    ("notActions", "NotAction"),
                    ("resources", "Resource"),
                    ("notResources", "NotResource"),
                )
            },
            "Principal": _principals(told.get("principals")),
            "NotPrincipal": _principals(told.get("notPrincipals")),
            "Condition": _conditions(told.get("conditions")),
        }
        statements.append({k: v for k, v in statement.items() if v})
    for text in [*(given.get("sourcePolicyDocuments") or []), *(given.get("overridePolicyDocuments") or [])]:
        statements += json.loads(text).get("Statement", [])
    document = {"Version": given.get("version") or "2012-10-17", "Statement": statements}
    if given.get("policyId"):
        document["Id"] = given["policyId"]
    text, minified = json.dumps(document, indent=2), json.dumps(document, separators=(",", ":"))
    return {
        "id": str(int(hashlib.sha256(minified.encode()).hexdigest()[:8], 16)),
        "json": text,
        "minifiedJson": minified,
    }


def _one_or_all(values: list[str] | None) -> Any:
    return values[0] if values and len(values) == 1 else values


def _principals(told: list[Arguments] | None) -> Any:
    if not told:
        return None
    if any(p["type"] == "*" for p in told):
        return "*"
    return {p["type"]: _one_or_all(p["identifiers"]) for p in told}


def _conditions(told: list[Arguments] | None) -> Any:
    found: dict[str, Any] = {}
    for condition in told or []:
        found.setdefault(condition["test"], {})[condition["variable"]] = _one_or_all(condition["values"])
    return found


def _s3_object(work: Work, given: Arguments) -> Arguments:
    place = {"Bucket": given["bucket"], "Key": given["key"]}
    place |= {"VersionId": given["versionId"]} if given.get("versionId") else {}
    told = work.call("s3", "HeadObject", **place)
    kind = told.get("ContentType", "")
    result = {
        "id": f"{given['bucket']}/{given['key']}",
        "arn": f"arn:{work.session.partition}:s3:::{given['bucket']}/{given['key']}",
        "contentType": kind,
        "contentLength": told["ContentLength"],
        "etag": told["ETag"].strip('"'),
        "lastModified": told["LastModified"].strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "metadata": told.get("Metadata", {}),
        "versionId": told.get("VersionId", ""),
        "serverSideEncryption": told.get("ServerSideEncryption", ""),
        "tags": given.get("tags") or {},
        "storageClass": told.get("StorageClass", "STANDARD"),
        "bucketKeyEnabled": bool(told.get("BucketKeyEnabled")),
    }
    # The plugin gives the text of what is text alone.
    if kind.startswith("text/") or kind.partition(";")[0] in (
        "application/json",
        "application/yaml",
        "application/xml",
    ):
        result["body"] = work.call("s3", "GetObject", **place)["Body"].read().decode()
    return result


def _public_key(work: Work, given: Arguments) -> Arguments:
    grants = {"GrantTokens": given["grantTokens"]} if given.get("grantTokens") else {}
    told = work.call("kms", "GetPublicKey", KeyId=given["keyId"], **grants)
    encoded = b64encode(told["PublicKey"]).decode()
    lines = "\n".join(encoded[i : i + 64] for i in range(0, len(encoded), 64))
    return {
        "id": told["KeyId"],
        "arn": told["KeyId"],
        "publicKey": encoded,
        "publicKeyPem": f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n",
        "customerMasterKeySpec": told.get("KeySpec") or told.get("CustomerMasterKeySpec", ""),
        "keyUsage": told["KeyUsage"],
        "signingAlgorithms": told.get("SigningAlgorithms", []),
        "encryptionAlgorithms": told.get("EncryptionAlgorithms", []),
    }


def _kms_key(work: Work, given: Arguments) -> Arguments:
    told = work.call("kms", "DescribeKey", KeyId=given["keyId"])["KeyMetadata"]
    return {
        "id": told["KeyId"],
        "arn": told["Arn"],
        "awsAccountId": told["AWSAccountId"],
        "customerMasterKeySpec": told.get("KeySpec", ""),
        "keySpec": told.get("KeySpec", ""),
        "description": told.get("Description", ""),
        "enabled": told["Enabled"],
        "keyManager": told.get("KeyManager", "CUSTOMER"),
        "keyState": told["KeyState"],
        "keyUsage": told["KeyUsage"],
        "multiRegion": bool(told.get("MultiRegion")),
        "origin": told.get("Origin", "AWS_KMS"),
    }


def _filters(given: Arguments) -> list[dict[str, Any]]:
    found = [{"Name": f["name"], "Values": f["values"]} for f in given.get("filters") or []]
    return found + [{"Name": f"tag:{k}", "Values": [v]} for k, v in (given.get("tags") or {}).items()]


def _only(found: list[dict[str, Any]], what: str) -> dict[str, Any]:
    if len(found) == 1:
        return found[0]
    wrong = "no matching" if not found else "multiple"
    raise ProviderError(f"{wrong} EC2 {what} found{'; use additional constraints' if found else ''}")


def _vpc(work: Work, given: Arguments) -> Arguments:
    filters = _filters(given)
    filters += [{"Name": "isDefault", "Values": ["true"]}] if given.get("default") else []
    filters += [{"Name": "cidr", "Values": [given["cidrBlock"]]}] if given.get("cidrBlock") else []
    told = _only(_described(work, "DescribeVpcs", "Vpcs", "VpcIds", given.get("id"), filters), "VPC")
    region, owner = work.region, told.get("OwnerId", work.session.account)
    attributes = {
        name: work.call("ec2", "DescribeVpcAttribute", VpcId=told["VpcId"], Attribute=name)
        for name in ("enableDnsHostnames", "enableDnsSupport")
    }
    return {
        "id": told["VpcId"],
        "arn": f"arn:{work.session.partition}:ec2:{region}:{owner}:vpc/{told['VpcId']}",
        "cidrBlock": told["CidrBlock"],
        "default": bool(told.get("IsDefault")),
        "enableDnsHostnames": attributes["enableDnsHostnames"]["EnableDnsHostnames"]["Value"],
        "enableDnsSupport": attributes["enableDnsSupport"]["EnableDnsSupport"]["Value"],
        "instanceTenancy": told.get("InstanceTenancy", "default"),
        "ownerId": owner,
        "state": told["State"],
        "tags": {t["Key"]: t["Value"] for t in told.get("Tags", [])},
    }


def _subnet(work: Work, given: Arguments) -> Arguments:
    filters = _filters(given)
    for name, api in (("vpcId", "vpc-id"), ("availabilityZone", "availability-zone"), ("cidrBlock", "cidr-block")):
        filters += [{"Name": api, "Values": [given[name]]}] if given.get(name) else []
    told = _only(_described(work, "DescribeSubnets", "Subnets", "SubnetIds", given.get("id"), filters), "Subnet")
    return {
        "id": told["SubnetId"],
        "arn": told["SubnetArn"],
        "availabilityZone": told["AvailabilityZone"],
        "availabilityZoneId": told.get("AvailabilityZoneId", ""),
        "availableIpAddressCount": told["AvailableIpAddressCount"],
        "cidrBlock": told["CidrBlock"],
        "mapPublicIpOnLaunch": told["MapPublicIpOnLaunch"],
        "ownerId": told["OwnerId"],
        "state": told["State"],
        "vpcId": told["VpcId"],
        "tags": {t["Key"]: t["Value"] for t in told.get("Tags", [])},
    }


def _subnets(work: Work, given: Arguments) -> Arguments:
    found = _described(work, "DescribeSubnets", "Subnets", "SubnetIds", None, _filters(given))
    return {"id": work.region, "ids": [s["SubnetId"] for s in found]}


def _security_group(work: Work, given: Arguments) -> Arguments:
    filters = _filters(given)
    for name, api in (("vpcId", "vpc-id"), ("name", "group-name")):
        filters += [{"Name": api, "Values": [given[name]]}] if given.get(name) else []
    told = _only(
        _described(work, "DescribeSecurityGroups", "SecurityGroups", "GroupIds", given.get("id"), filters),
        "Security Group",
    )
    owner = told.get("OwnerId", work.session.account)
    return {
        "id": told["GroupId"],
        "arn": f"arn:{work.session.partition}:ec2:{work.region}:{owner}:security-group/{told['GroupId']}",
        "name": told["GroupName"],
        "description": told["Description"],
        "vpcId": told["VpcId"],
        "tags": {t["Key"]: t["Value"] for t in told.get("Tags", [])},
    }


def _described(work: Work, operation: str, member: str, ids: str, id: str | None, filters: Any) -> list[dict[str, Any]]:  # noqa: A002
    parameters: dict[str, Any] = {ids: [id]} if id else {}
    return work.call("ec2", operation, **parameters, **({"Filters": filters} if filters else {}))[member]


def _prebuilt_image(work: Work, given: Arguments) -> Arguments:
    name, tag = given["repositoryName"], given.get("imageTag") or "latest"
    region = given.get("region") or work.region
    suffix = given.get("dnsSuffix") or "amazonaws.com"
    account: str | None = _DEEP_LEARNING.get(region) if name in _IMAGES.split() else None
    if account is None:
        raise ProviderError(f"no registry ID available for region ({region}) and repository ({name})")
    path = f"{account}.dkr.ecr.{region}.{suffix}/{name}:{tag}"
    return {"id": account, "registryId": account, "registryPath": path, "repositoryName": name}


_REGIONS = """us-east-1 us-east-2 us-west-1 us-west-2 ca-central-1 sa-east-1 eu-central-1 eu-north-1 eu-west-1 eu-west-2
eu-west-3 ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-1 ap-southeast-2"""
_IMAGES = """djl-inference huggingface-pytorch-inference huggingface-pytorch-tgi-inference huggingface-pytorch-training
pytorch-inference pytorch-training tensorflow-inference tensorflow-training"""
_DEEP_LEARNING: dict[str, str] = dict.fromkeys(_REGIONS.split(), "763104351884")
"""Region -> AWS's account (AWS Deep Learning Containers, available images)."""

FUNCTIONS: dict[str, Callable[[Work, Arguments], Arguments]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:iam/getPolicyDocument:getPolicyDocument": _policy_document,
    "aws:s3/getObject:getObject": _s3_object,
    "aws:kms/getPublicKey:getPublicKey": _public_key,
    "aws:kms/getKey:getKey": _kms_key,
    "aws:ec2/getVpc:getVpc": _vpc,
    "aws:ec2/getSubnet:getSubnet": _subnet,
    "aws:ec2/getSubnets:getSubnets": _subnets,
    "aws:ec2/getSecurityGroup:getSecurityGroup": _security_group,
    "aws:sagemaker/getPrebuiltEcrImage:getPrebuiltEcrImage": _prebuilt_image,
}
