"""What keeps a rehearsal on this machine: its environment, and the closed door."""

import urllib.request
from urllib.error import URLError

import pytest

from llmops_kit.cli.pulumi_engine import warm_host
from llmops_kit.cli.rehearsal.clouds import find_cloud
from llmops_kit.cli.rehearsal.network_guard import Guard
from llmops_kit.cli.rehearsal.stage import failure
from llmops_kit.cli.rehearsal.world import scrubbed
from llmops_kit.core.errors import KitError


def test_nothing_of_a_cloud_or_a_login_stays_in_the_environment() -> None:
    named = ("AWS_PROFILE", "AZURE_TENANT_ID", "ARM_CLIENT_ID", "PULUMI_ACCESS_TOKEN", "GOOGLE_CREDENTIALS")
    named += ("PULUMI_STACK", "LLMOPS_ROOT", "https_proxy", "NO_PROXY")
    kept = {"PATH": "/bin", "HOME": "/root", "LLMOPS_CACHE": "/cache", "PULUMI_HOME": "/pulumi", "LANG": "C"}
    kept[warm_host.VARIABLE] = "/warm"  # the rehearsal's own: without it every program imports the SDKs anew
    assert scrubbed(dict.fromkeys(named, "x") | kept) == kept


@pytest.mark.parametrize("address", ["https://sagemaker.us-east-1.amazonaws.com", "http://10.0.0.1:80", ""])
def test_an_address_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(KitError) as refused:
        find_cloud("aws").require_loopback({"AWS_ENDPOINT_URL": address})
    assert refused.value.where == "$AWS_ENDPOINT_URL"
    with pytest.raises(KitError) as refused:
        find_cloud("aws").require_loopback({"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_S3": address})
    assert refused.value.where == "$AWS_ENDPOINT_URL_S3"


def test_a_request_that_leaves_the_machine_is_refused_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Guard() as guard:
        for name, value in guard.environ.items():
            monkeypatch.setenv(name, value)
        guard.require_quiet("step one")
        client = urllib.request.build_opener()  # urlopen would keep the door for the tests that follow
        for url in ("https://sts.amazonaws.com/x", "http://example.org/y"):
            with pytest.raises(URLError):
                client.open(url, timeout=60)
        with pytest.raises(KitError, match=r"http://example.org/y, sts.amazonaws.com:443") as e:
            guard.require_quiet("step one")
        assert e.value.where == "step one"
        guard.require_quiet("step two")


def test_a_command_s_own_words_become_the_error() -> None:
    text = "saying\n  error: deleting: AccessDenied\n\x1b[31;1merror:\x1b[0m no room\n  where: disk\n  fix: buy one\n"
    found = failure("llmops up", 1, text)
    assert (found.what, found.where, found.fix) == (
        "`llmops up`: no room\n    error: deleting: AccessDenied",
        "disk",
        "buy one",
    )
    plugin = 'saying\n  error: 1 error occurred:\n    \t* Code="OutOfCapacity"\nerror: no\n'
    assert failure("llmops up", 1, plugin).what == '`llmops up`: no\n    * Code="OutOfCapacity"'
    assert "should have been rejected" in failure("llmops up", 0, "fine").what
    assert "Traceback" in failure("llmops up", 1, "Traceback (most …\nValueError").what
