"""A twin runs programs as its owner: nobody else on the machine may tell it to, or read what it keeps."""

import http.client
import json
import os
import signal
import ssl
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil
import pytest

from llmops_twins.aws import control as aws
from llmops_twins.azure.entra import principals
from llmops_twins.core import root
from llmops_twins.core.control import own_key
from tests.support.clouds.twin_keys import root_secret, signed
from tests.support.other_users import as_nobody, needs_root
from twins.tests.support.azure_processes import Subscription, running_twin

# What every twin had once, and everybody could read in its source.
OLD_KEY, OLD_SECRET = "AKIALLMOPSTWINROOT00", "stand-in-secret-of-the-twin-opens-nothing"
OLD_HEADER = "stand-in-header-of-the-twin-opens-nothing"
JOB = {
    "TrainingJobName": "theirs",
    "AlgorithmSpecification": {
        "TrainingImage": "process:training@sha256:" + "a" * 64,
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["sh", "-c", "id"],
    },
    "RoleArn": "arn:aws:iam::000000000000:role/any",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    home = tmp_path_factory.mktemp("aws") / "twin"
    info = aws.up(home, judge="off", containers="none")
    yield home, info.url
    aws.down(home)


@pytest.fixture(scope="module")
def subscription(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscription]:
    with running_twin(tmp_path_factory.mktemp("azure")) as made:
        yield made


def ask(
    url: str, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, trust: Any = None
) -> tuple[int, str]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    more = {"context": trust} if parts.scheme == "https" else {}
    with closing(kind(str(parts.hostname), parts.port, timeout=120, **more)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def create_job(url: str, secret: str) -> tuple[int, str]:
    body = json.dumps(JOB).encode()
    target = {"X-Amz-Target": "SageMaker.CreateTrainingJob", "Content-Type": "application/x-amz-json-1.1"}
    headers = signed("POST", f"{url}/", "sagemaker", (OLD_KEY, secret), body=body, headers=target)
    return ask(url, "POST", "/", body, headers)


@pytest.mark.vulnerability(3)
@needs_root
def test_vulnerability_3_another_user_gets_no_job_of_the_aws_twin(account: tuple[Path, str]) -> None:
    """User 65534 ran a command as user 0: the root's key was a constant, and signatures went unchecked."""
    _, url = account
    status, told = as_nobody(lambda: create_job(url, OLD_SECRET))
    assert (status, "InvalidSignatureException" in told) == (403, True)
    status, told = as_nobody(lambda: create_job(url, "x"))
    assert (status, "InvalidSignatureException" in told) == (403, True)
    assert "InvalidSignatureException" not in create_job(url, root_secret(account[0]))[1]


@pytest.mark.vulnerability(3)
@needs_root
@pytest.mark.parametrize("key", ["", OLD_SECRET, OLD_HEADER])
def test_vulnerability_3_another_user_gets_none_of_the_twins_own_routes(
    account: tuple[Path, str], subscription: Subscription, key: str
) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    routes = [
        *(("GET", "health"), ("GET", "status"), ("POST", "reset"), ("GET", "recorded"), ("PUT", "settings")),
        *(("PUT", "faults"), ("POST", "web-identities"), ("POST", "tokens"), ("POST", "headers"), ("GET", "nonsense")),
    ]
    trust = subscription.trust()

    def asked() -> list[int]:
        found = []
        for url in (account[1], subscription.info.url):
            found += [ask(url, method, f"/_twin/{route}", b"{}", headers, trust)[0] for method, route in routes]
        return found

    assert set(as_nobody(asked)) == {403}


@pytest.mark.vulnerability(3)
@needs_root
def test_vulnerability_3_another_user_gets_no_token_of_the_azure_twin(subscription: Subscription) -> None:
    url, tenant, trust = subscription.info.url, subscription.info.tenant, subscription.trust()
    resource = "resource=https%3A%2F%2Fmanagement.azure.com&api-version=2019-08-01"
    form = {
        "grant_type": "client_credentials",
        "client_id": principals.OWNER_APP,
        "client_secret": OLD_SECRET,
        "scope": "https://management.azure.com/.default",
    }
    forged = "e30.eyJpc3MiOiJodHRwczovL3Rva2VuLmFjdGlvbnMuZ2l0aHVidXNlcmNvbnRlbnQuY29tIiwiZXhwIjo0MTAyNDQ0ODAwfQ.c2ln"
    federated = {
        **form,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": forged,
    }
    content = {"Content-Type": "application/x-www-form-urlencoded"}

    def asked() -> list[tuple[int, str]]:
        return [
            ask(url, "GET", f"/msi/token?{resource}", b"", {"X-IDENTITY-HEADER": OLD_HEADER}, trust),
            ask(url, "GET", f"/msi/token?{resource}", b"", {"secret": OLD_HEADER}, trust),
            ask(url, "POST", f"/{tenant}/oauth2/v2.0/token", urlencode(form).encode(), content, trust),
            ask(url, "POST", f"/{tenant}/oauth2/v2.0/token", urlencode(federated).encode(), content, trust),
        ]  # fmt: skip

    answers = as_nobody(asked)
    assert [status for status, _ in answers] == [403, 403, 401, 401]
    assert not any("access_token" in told for _, told in answers)


@pytest.mark.vulnerability(3)
@needs_root
def test_vulnerability_3_another_user_reads_nothing_of_a_twin(
    account: tuple[Path, str], subscription: Subscription
) -> None:
    for home in (account[0], subscription.home):
        inside = [path for path in home.rglob("*") if path.is_file()]
        assert {"root.secret", "twin.json", "twin.log"} <= {path.name for path in inside}
        pids = json.loads((home / "twin.json").read_text())["pids"].values()
        outside = [Path(f"/proc/{pid}/environ") for pid in pids]

        def readable(home: Path = home, paths: list[Path] = [*inside, *outside]) -> list[str]:  # noqa: B006
            found = []
            for path in paths:
                with suppress(OSError):
                    found.append(f"{path}: {path.read_bytes()[:20]!r}")
            with suppress(OSError):
                found += [str(path) for path in home.iterdir()]
            return found

        assert as_nobody(readable) == []


@pytest.mark.vulnerability(3)
@needs_root
def test_vulnerability_3_no_port_of_a_twin_answers_another_user(
    account: tuple[Path, str], subscription: Subscription
) -> None:
    """Whatever listens: all but documents that say where things are, which Azure gives everybody, are refused."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    pids = [
        pid
        for home in (account[0], subscription.home)
        for pid in json.loads((home / "twin.json").read_text())["pids"].values()
    ]
    ports = {
        connection.laddr.port
        for pid in pids
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(ports) >= 4  # two twins, and the stand-in plugin of each

    def asked() -> list[tuple[int, str, int]]:
        found = []
        for port in ports:
            for scheme in ("http", "https"):
                for path in ("/", "/v2/", "/subscriptions?api-version=2022-12-01", "/devstoreaccount1?comp=list"):
                    with suppress(OSError, http.client.HTTPException):
                        found.append(
                            (port, path, ask(f"{scheme}://localhost:{port}", "GET", path, b"", {}, context)[0])
                        )
        return found

    answers = as_nobody(asked)
    assert answers
    # The registry says to whoever asks by Docker's name for this machine that it is one; names are secrets there.
    greeted = [(path, status) for _, path, status in answers if status not in (400, 401, 403, 404)]
    assert set(greeted) <= {("/v2/", 200)}


@pytest.mark.vulnerability(3)
def test_vulnerability_3_each_twin_has_a_secret_of_its_own_for_good(account: tuple[Path, str], tmp_path: Path) -> None:
    home, _ = account
    first = (root_secret(home), own_key(home))
    other = aws.up(tmp_path / "twin", judge="off", containers="none")
    try:
        assert create_job(other.url, first[0])[0] == 403
        assert root_secret(tmp_path / "twin") != first[0]
        assert len({*first, root.key(home, "azure client secret"), (home / root.ROOT_FILE).read_text()}) == 4
        secret = root_secret(tmp_path / "twin")
        os.kill(other.pids["twin"], signal.SIGKILL)
        again = aws.up(tmp_path / "twin", judge="off", containers="none")
        assert root_secret(tmp_path / "twin") == secret
        assert create_job(again.url, secret)[0] != 403
        aws.reset(tmp_path / "twin")
        assert create_job(again.url, secret)[0] != 403
    finally:
        aws.down(tmp_path / "twin")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (home / root.ROOT_FILE, home / "twin.json")}
    assert (modes, stat.S_IMODE(home.stat().st_mode)) == ({0o600}, 0o700)


@pytest.mark.vulnerability(14)
def test_vulnerability_14_no_key_of_the_authority_is_kept(subscription: Subscription) -> None:
    """With it whoever read it could be any host for clients of the twin."""
    kept = {path.name for path in (subscription.home / "tls").iterdir()}
    assert kept == {"ca.pem", "server.pem", "bundle.pem"}
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificate

    authority = load_pem_x509_certificate((subscription.home / "tls/ca.pem").read_bytes())
    server = load_pem_private_key((subscription.home / "tls/server.pem").read_bytes(), None)
    assert server.public_key() != authority.public_key()
