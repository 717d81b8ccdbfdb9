"""The state, and what is kept beside it."""

import ssl
from pathlib import Path

import pytest
import trustme

from llmops_twins.azure.entra import certificates
from llmops_twins.azure.persistence import StateKeeper
from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.state_log import STATE_FILE
from tests.support.clouds.azure import Arm, local_twin


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    twin = local_twin(tmp_path)
    group = Arm(twin).group("kept")
    StateKeeper(twin).save()
    assert (tmp_path / STATE_FILE).stat().st_mode & 0o777 == 0o600
    again = TenantTwin(tmp_path)
    assert StateKeeper(again).load()
    assert again.find(group) == twin.find(group)
    assert not StateKeeper(TenantTwin(tmp_path / "other")).load()


def test_a_changed_resource_is_appended_and_no_other(tmp_path: Path) -> None:
    twin = local_twin(tmp_path)
    arm = Arm(twin)
    for name in ("first", "second"):
        arm.group(name)
    keeper = StateKeeper(twin)
    keeper.save()
    before = (tmp_path / STATE_FILE).read_bytes()
    twin.resources[key(arm.group("first"))]["tags"] = {"a": "b"}
    keeper.save()
    added = (tmp_path / STATE_FILE).read_bytes().removeprefix(before)
    assert (b"/resourcegroups/first" in added, b"/resourcegroups/second" in added) == (True, False)
    again = TenantTwin(tmp_path)
    assert StateKeeper(again).load()
    assert again.state == twin.state


def test_the_authority_is_made_once_and_the_bundle_has_what_the_shell_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company, other = (trustme.CA().cert_pem.bytes().decode() for _ in range(2))
    (tmp_path / "company.pem").write_text(f"# of the company\n{company}")
    (tmp_path / "more.pem").write_text(other + company)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "company.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "more.pem"))
    bundle = certificates.bundle(tmp_path / "twin")
    authority = (tmp_path / "twin/tls/ca.pem").read_text()
    assert bundle.read_text().startswith(company)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    again = certificates.bundle(tmp_path / "twin").read_text()
    assert [again.count(each) for each in (authority, company, other)] == [1, 1, 1]
    ssl.create_default_context(cafile=str(bundle))
