"""What is judged is what answers: requests that two readers would read differently, against a twin that judges."""

import http.client
import json
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.clouds.twin_keys import signed
from twins.tests.support.aws import RunningTwin

MARK = "what-only-root-may-read"
REGION = "us-east-1"
LIST_USERS = "Action=ListUsers&Version=2010-05-08"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/x-amz-json-1.1"}
OPEN, CLOSED = "open-to-some", "closed-to-all"
ALLOWED = {
    "lister": [("iam:ListUsers", "*")],
    "reader": [
        ("s3:GetObject", f"arn:aws:s3:::{OPEN}/*"),
        ("s3:ListBucket", f"arn:aws:s3:::{OPEN}"),
        ("s3:GetObjectRetention", f"arn:aws:s3:::{CLOSED}/*"),
        ("s3:PutAnalyticsConfiguration", f"arn:aws:s3:::{CLOSED}"),
        ("s3:GetAnalyticsConfiguration", f"arn:aws:s3:::{CLOSED}"),
        ("s3:PutObjectAcl", f"arn:aws:s3:::{OPEN}/*"),
        ("s3:DeleteObject", f"arn:aws:s3:::{OPEN}/*"),
    ],
    "keeper": [
        ("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{REGION}:000000000000:secret:mine-*"),
        ("secretsmanager:ListSecrets", "*"),
        ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:000000000000:parameter/mine"),
        ("sqs:CreateQueue", f"arn:aws:sqs:{REGION}:*:*"),
    ],
}


@dataclass
class Site:
    """A twin with secrets of its root, and users who may do little."""

    twin: RunningTwin
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)

    def send(
        self, user: str, service: str, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, bytes]:
        """A request as it is written here, signed by a user for a service."""
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.twin.info.url}{path}"
        written = signed(method, url, service, self.keys[user], region=REGION, body=body, headers=own)
        return self.raw(method, path, body, written)

    def raw(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.twin.info.port, timeout=120)) as connection:
            connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def holdings(self) -> Any:
        """What the account holds, by its root."""
        s3, iam = self.twin.client("s3"), self.twin.client("iam")
        buckets = [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
        objects = {b: [o["Key"] for o in s3.list_objects_v2(Bucket=b).get("Contents", [])] for b in buckets}
        users = [user["UserName"] for user in iam.list_users()["Users"]]
        secrets = [each["Name"] for each in self.twin.client("secretsmanager").list_secrets()["SecretList"]]
        queues = self.twin.client("sqs").list_queues().get("QueueUrls", [])
        return objects, users, secrets, queues


@pytest.fixture(scope="module")
def site(borrow: Callable[..., RunningTwin]) -> Site:
    twin = borrow(judge="strict")
    made = Site(twin)
    iam, s3 = twin.client("iam"), twin.client("s3")
    for user, allowed in ALLOWED.items():
        iam.create_user(UserName=user)
        statements = [{"Effect": "Allow", "Action": action, "Resource": arn} for action, arn in allowed]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=policy)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        made.keys[user] = (key["AccessKeyId"], key["SecretAccessKey"])
    iam.create_user(UserName="victim", Tags=[{"Key": "mark", "Value": MARK}])
    for bucket in (OPEN, CLOSED, "moto-api"):
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="object", Body=MARK.encode() if bucket != OPEN else b"open")
    secrets = twin.client("secretsmanager")
    secrets.create_secret(Name="mine", SecretString="mine")
    secrets.create_secret(Name="theirs", SecretString=MARK)
    twin.client("ssm").put_parameter(Name="mine", Value="mine", Type="String")
    twin.client("ssm").put_parameter(Name="theirs", Value=MARK, Type="String")
    return made


@pytest.mark.vulnerability(7)
@pytest.mark.parametrize("path", [f"/{CLOSED}/object", f"/{CLOSED}", f"/{CLOSED}/object/", "/", "/moto-api/data.json"])
def test_vulnerability_7_a_url_that_is_signed_for_iam_reads_no_object(site: Site, path: str) -> None:
    """The judge read ListUsers by the URL's credential; moto saw no header, and answered as S3."""
    url = f"{site.twin.info.url}{path}?{LIST_USERS}"
    request = AWSRequest("GET", url)
    SigV4QueryAuth(Credentials(*site.keys["lister"]), "iam", REGION).add_auth(request)
    assert request.url
    parts = urlsplit(request.url)
    status, answer = site.raw("GET", f"{parts.path}?{parts.query}", b"", {})
    assert MARK.encode() not in answer
    assert status >= 400 or b"<ListUsersResult>" in answer


def smuggled(inner: str) -> bytes:
    """JSON whose text is also a form."""
    return json.dumps({"SecretId": "mine", "VersionStage": f"AWSCURRENT&{inner}&y="}).encode()


TARGET = "secretsmanager.GetSecretValue"
COPY = {"x-amz-copy-source": f"/{CLOSED}/object"}
ELSEWHERE = {"X-Forwarded-Host": f"{CLOSED}.localhost", "X-Original-URL": f"/{CLOSED}/object"}
ROLE = "RoleArn=arn:aws:iam::000000000000:role/r"
BY_SAML = f"Action=AssumeRoleWithSAML&{ROLE}&PrincipalArn=p&SAMLAssertion=eA"
BY_TOKEN = f"Action=AssumeRoleWithWebIdentity&{ROLE}&RoleSessionName=me&WebIdentityToken=e30.e30.e30"
SIGV4A = "AWS4-ECDSA-P256-SHA256 Credential=AKIALLMOPSTWINROOT00/20260101/s3/aws4_request"
# user, service, method, path, body, headers
ATTACKS: list[tuple[str, str, str, str, bytes, dict[str, str]]] = [
    # the path, the host, or a header leads elsewhere than the signature
    ("lister", "iam", "GET", f"/{CLOSED}/object", b"", {}),
    ("lister", "iam", "POST", "/moto-api/reset", LIST_USERS.encode(), FORM),
    ("lister", "iam", "POST", "/moto-api/seed?a=1", LIST_USERS.encode(), FORM),
    ("reader", "s3", "POST", "/moto-api/reset", b"", {}),
    ("reader", "s3", "GET", "/moto-api/data.json", b"", {}),
    ("lister", "iam", "GET", "/latest/meta-data/iam/security-credentials/", b"", {}),
    ("lister", "iam", "POST", "/", LIST_USERS.encode(), {**FORM, "Host": f"{CLOSED}.s3.localhost"}),
    ("lister", "iam", "GET", "/object", b"", {"Host": f"{CLOSED}.s3.amazonaws.com.localhost"}),
    ("lister", "iam", "POST", "/", b"", {"X-Amz-Target": TARGET, **JSON}),
    ("lister", "iam", "POST", "/", b'{"SecretId": "theirs"}', {"X-Amz-Target": TARGET, **JSON}),
    ("keeper", "secretsmanager", "GET", f"/{CLOSED}/object", b"", {}),
    (
        "keeper",
        "sagemaker",
        "POST",
        "/endpoints/x/invocations",
        b"{}",
        {"X-Amz-Target": "SageMaker.ListModels", **JSON},
    ),
    ("keeper", "nonsense", "GET", f"/{CLOSED}/object", b"", {}),
    # two operations in one request
    ("lister", "iam", "POST", f"/?{LIST_USERS}", b"Action=DeleteUser&UserName=victim&Version=2010-05-08", FORM),
    ("lister", "iam", "POST", "/?Action=DeleteUser&UserName=victim", LIST_USERS.encode(), FORM),
    ("lister", "iam", "POST", "/", f"{LIST_USERS}&Action=DeleteUser&UserName=victim".encode(), FORM),
    ("lister", "iam", "POST", "/", LIST_USERS.encode(), {**FORM, "X-Amz-Target": "x.DeleteUser"}),
    ("lister", "iam", "POST", "/", LIST_USERS.encode(), {**FORM, "Action": "DeleteUser", "UserName": "victim"}),
    ("lister", "iam", "GET", "/", b"", {"Action": "DeleteUser", "UserName": "victim"}),
    ("lister", "iam", "POST", f"/?{LIST_USERS}", b"UserName=victim", {"Action": "GetUser", "Content-Type": "a/b"}),
    ("keeper", "secretsmanager", "POST", "/?Action=ListSecrets", smuggled("a=b"), {"X-Amz-Target": TARGET, **JSON}),
    # JSON that is a form as well: moto looks for parameters in both
    ("keeper", "secretsmanager", "POST", "/", smuggled("SecretId=theirs"), {"X-Amz-Target": TARGET, **JSON}),
    ("keeper", "secretsmanager", "POST", "/", smuggled("Action=DeleteSecret"), {"X-Amz-Target": TARGET, **JSON}),
    ("keeper", "secretsmanager", "POST", "/?SecretId=theirs", b'{"SecretId":"mine"}', {"X-Amz-Target": TARGET, **JSON}),
    ("keeper", "secretsmanager", "POST", "/", b"", {"X-Amz-Target": TARGET, "SecretId": "theirs", **JSON}),
    (
        *("keeper", "ssm", "POST", "/", b'{"Name": "mine", "Other": "&Name=theirs&"}'),
        {"X-Amz-Target": "AmazonSSM.GetParameter", **JSON},
    ),
    # sub-resources of S3 that moto does not know: it would do what the path alone asks for
    ("reader", "s3", "DELETE", f"/{CLOSED}?analytics&id=1", b"", {}),
    ("reader", "s3", "GET", f"/{CLOSED}?analytics&id=1", b"", {}),
    ("reader", "s3", "GET", f"/{CLOSED}?analytics", b"", {}),
    ("reader", "s3", "GET", f"/{CLOSED}/object?retention", b"", {}),
    ("reader", "s3", "GET", f"/{CLOSED}/object?retention&versionId=null", b"", {}),
    ("reader", "s3", "PUT", f"/{OPEN}/copied?acl", b"", {**COPY, "x-amz-acl": "private"}),
    ("reader", "s3", "PUT", f"/{OPEN}/copied", b"", COPY),
    ("reader", "s3", "PUT", f"/{OPEN}/copied", b"", {"x-amz-copy-source": f"{OPEN}/../{CLOSED}/object"}),
    ("reader", "s3", "PUT", f"/{OPEN}/copied", b"", {"x-amz-copy-source": f"%2F{CLOSED}%2Fobject"}),
    ("reader", "s3", "POST", f"/{CLOSED}?delete", b"key=&<Delete><Object><Key>object</Key></Object></Delete>", FORM),
    ("reader", "s3", "POST", f"/{OPEN}?delete", b"<Delete><Object><Key>../object</Key></Object></Delete>", {}),
    ("reader", "s3", "POST", f"/{CLOSED}", b"key=written&file=x", FORM),
    # places of S3
    ("reader", "s3", "GET", f"/{OPEN}/..%2f..%2f{CLOSED}/object", b"", {}),
    ("reader", "s3", "GET", f"/{OPEN}/../{CLOSED}/object", b"", {}),
    ("reader", "s3", "GET", f"/{OPEN}/%2e%2e/{CLOSED}/object", b"", {}),
    ("reader", "s3", "GET", f"/{OPEN}%2f..%2f{CLOSED}/object", b"", {}),
    ("reader", "s3", "GET", f"/{CLOSED}%2fobject", b"", {}),
    ("reader", "s3", "GET", f"//{CLOSED}/object", b"", {}),
    ("reader", "s3", "GET", f"/./{CLOSED}/object", b"", {}),
    ("reader", "s3", "GET", f"/{OPEN}/object?versionId=x/../../{CLOSED}/object", b"", {}),
    ("reader", "s3", "GET", f"/{CLOSED}/object", b"", {"Host": f"{OPEN}.localhost"}),
    ("reader", "s3", "GET", f"/../{CLOSED}/object", b"", {"Host": f"{OPEN}.s3.localhost"}),
    ("reader", "s3", "GET", "/object", b"", {"Host": f"{CLOSED}.localhost"}),
    ("reader", "s3", "GET", "/object", b"", {"Host": f"{CLOSED}.s3.us-east-1.localhost"}),
    ("reader", "s3", "GET", f"/{OPEN}/object", b"", ELSEWHERE),
    ("reader", "s3", "GET", f"/{CLOSED}/key.s3.cn-north-1.amazonaws.com", b"", {}),
    ("reader", "s3", "GET", "/v20180820/configuration/publicAccessBlock", b"", {"x-amz-account-id": "000000000000"}),
    # methods
    ("reader", "s3", "GET", f"/{OPEN}/object", b"", {"X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "DELETE"}),
    ("reader", "s3", "POST", f"/{OPEN}/object?_method=DELETE", b"", {}),
    ("reader", "s3", "OPTIONS", f"/{CLOSED}/object", b"", {"X-Method-Override": "GET"}),
    ("lister", "iam", "DELETE", f"/?{LIST_USERS}", b"", {}),
    # accounts and classic load balancers
    ("lister", "iam", "POST", "/", LIST_USERS.encode(), {**FORM, "x-moto-account-id": "111111111111"}),
    ("lister", "elasticloadbalancing", "POST", "/", b"Action=DeleteLoadBalancer&Version=2012-06-01", FORM),
]


@pytest.mark.vulnerability(7)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: f"{each[0]} {each[1]} {each[2]} {each[3]}"[:70])
def test_vulnerability_7_what_is_judged_is_what_answers(site: Site, attack: tuple[Any, ...]) -> None:
    user, service, method, path, body, headers = attack
    before = site.holdings()
    status, answer = site.send(user, service, method, path, body, **headers)
    assert MARK.encode() not in answer
    assert status < 500
    if status < 300:
        assert _is_allowed(user, answer), answer[:300]
    assert site.holdings() == before


def _is_allowed(user: str, answer: bytes) -> bool:
    """Is it an answer that the user's own operations have?"""
    allowed = {
        "lister": (b"<ListUsersResult>",),
        "reader": (b"open", b"<Key>../object</Key>"),
        "keeper": (b'"SecretString": "mine"', b'"Value": "mine"', b'"SecretList"'),
    }
    return not answer or any(text in answer for text in allowed[user])


@pytest.mark.vulnerability(7)
def test_vulnerability_7_a_region_is_the_signatures_own(site: Site) -> None:
    """moto takes it from the User-Agent, or a host within the path, before it looks at the signature."""
    body = b"Action=CreateQueue&QueueName=placed&Version=2012-11-05"
    for path, agent in (("/", "tool region/eu-west-1"), ("/.eu-west-1.amazonaws.com/", "tool")):
        site.send("keeper", "sqs", "POST", path, body, **FORM, User_Agent=agent)
    import boto3

    keys = dict(zip(("aws_access_key_id", "aws_secret_access_key"), _root(site), strict=True))
    elsewhere = boto3.client("sqs", region_name="eu-west-1", endpoint_url=site.twin.info.url, **keys)
    assert "QueueUrls" not in elsewhere.list_queues()
    elsewhere.close()
    for url in site.twin.client("sqs").list_queues().get("QueueUrls", []):
        site.twin.client("sqs").delete_queue(QueueUrl=url)


def _root(site: Site) -> tuple[str, str]:
    from tests.support.clouds.twin_keys import root_keys

    found = root_keys(site.twin.home)
    return found["aws_access_key_id"], found["aws_secret_access_key"]


@pytest.mark.vulnerability(3)
@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("GET", f"/{CLOSED}/object", "", {}),
        ("GET", "/", "", {}),
        ("POST", "/", "Action=ListUsers&Version=2010-05-08", FORM),
        ("POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", FORM),
        ("POST", "/", BY_SAML, FORM),
        ("POST", "/", BY_TOKEN, FORM),
        ("POST", "/?Action=AssumeRoleWithWebIdentity", "Action=CreateUser&UserName=eve", FORM),
        ("POST", "/", "{}", {"X-Amz-Target": TARGET, **JSON}),
        ("POST", "/", "Version=2009-04-15&Action=CreateDomain&DomainName=x", FORM),
        ("POST", "/moto-api/reset", "", {}),
        ("GET", "/moto-api/data.json", "", {}),
        ("GET", f"/s3_us-east-1/{CLOSED}/object", "", {}),
        ("GET", f"/{CLOSED}/object", "", {"Authorization": "AWS AKIALLMOPSTWINROOT00:x"}),
        ("GET", f"/{CLOSED}/object", "", {"Authorization": SIGV4A}),
        ("GET", f"/{CLOSED}/object?AWSAccessKeyId=AKIALLMOPSTWINROOT00&Signature=x&Expires=9999999999", "", {}),
    ],
)  # fmt: skip
def test_vulnerability_3_what_nobody_signed_is_refused(
    site: Site, method: str, path: str, body: str, headers: dict[str, str]
) -> None:
    before = site.holdings()
    status, answer = site.raw(method, path, body.encode(), headers)
    assert 400 <= status < 500
    assert MARK.encode() not in answer
    assert site.holdings() == before


SERVICES = ("iam", "s3", "secretsmanager", "ssm", "sqs", "sts", "kms", "sagemaker", "logs", "monitoring", "lambda", "")
PATHS = ("/", f"/{CLOSED}", f"/{CLOSED}/object", f"/{OPEN}/object", f"/{OPEN}/..%2f{CLOSED}/object", "/moto-api/reset")
PATHS += (
    f"//{CLOSED}/object",
    "/v20180820/tags/x",
    "/2015-03-31/functions",
    "/latest/meta-data/x",
    "/endpoints/x/invocations",
)
PARAMETERS = [
    *(("Action", "ListUsers"), ("Action", "DeleteUser"), ("Action", "GetUser"), ("Action", "ListQueues")),
    *(("UserName", "victim"), ("UserName", "lister"), ("Version", "2010-05-08"), ("SecretId", "theirs")),
    *(("acl", ""), ("retention", ""), ("delete", ""), ("analytics", ""), ("id", "1"), ("policy", ""), ("uploads", "")),
    *(("list-type", "2"), ("versions", ""), ("uploadId", "x"), ("partNumber", "1"), ("versionId", "null")),
    *(("x-id", "GetObject"), ("X-Amz-Target", TARGET), ("Name", "theirs"), ("AWSAccessKeyId", "x")),
]
HEADERS = [
    *(("X-Amz-Target", TARGET), ("X-Amz-Target", "AmazonSSM.GetParameter"), ("X-Amz-Target", "SageMaker.ListModels")),
    *(("Content-Type", FORM["Content-Type"]), ("Content-Type", JSON["Content-Type"]), ("Content-Type", "text/xml")),
    *(("x-amz-copy-source", f"/{CLOSED}/object"), ("Action", "DeleteUser"), ("UserName", "victim")),
    *(("X-HTTP-Method-Override", "DELETE"), ("User-Agent", "x region/eu-west-1"), ("SecretId", "theirs")),
    *(("Host", f"{CLOSED}.localhost"), ("Host", "s3.amazonaws.com.localhost"), ("x-amz-acl", "public-read")),
]


@pytest.mark.vulnerability(7)
def test_vulnerability_7_no_mixture_of_requests_gets_through(site: Site) -> None:
    """600 requests, each put together by chance of what the table above has, and signed as it should be."""
    chance = random.Random(20261127)
    before = site.holdings()
    for number in range(600):
        user, service = chance.choice(list(ALLOWED)), chance.choice(SERVICES) or "iam"
        given = chance.sample(PARAMETERS, chance.randint(0, 4))
        cut = chance.randint(0, len(given))
        query, form = given[:cut], given[cut:]
        body = chance.choice([urlencode(form), json.dumps(dict(form)), smuggled(urlencode(form)).decode(), ""])
        path = chance.choice(PATHS) + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        headers = dict(chance.sample(HEADERS, chance.randint(0, 3)))
        method = chance.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"])
        status, answer = site.send(user, service, method, path, body.encode(), **headers)
        told = (number, user, service, method, path, body, headers, status, answer[:200])
        assert MARK.encode() not in answer, told
        assert status < 500, told
        assert status >= 300 or _is_allowed(user, answer) or f"/{OPEN}" in path, told
    assert site.holdings() == before
