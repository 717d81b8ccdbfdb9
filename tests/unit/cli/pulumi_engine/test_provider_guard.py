import base64
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from llmops_kit.cli.pulumi_engine.provider_guard import RefusedProviderError, check, load, released_name, target_of
from llmops_kit.infra import providers
from llmops_kit.infra.targets.aws.providers.account import AwsAccountProvider
from llmops_kit.infra.targets.dynamic import KitProvider

URN = "urn:pulumi:dev::llmops::pulumi-python:dynamic/llmops:Store::store"
RELEASES = Path(__file__).with_name("released-providers.txt")


def classes(kind: type[KitProvider]) -> set[type[KitProvider]]:
    """All below a class."""
    return {each for below in kind.__subclasses__() for each in (below, *classes(below))}


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


class Elsewhere(ResourceProvider):
    """No provider of the kit's."""


@pytest.mark.parametrize("name", RELEASES.read_text().split())
def test_every_name_that_was_ever_released_is_loaded(name: str) -> None:
    found = load(call(name))
    assert isinstance(found, KitProvider)
    assert released_name(serialize_provider(found)) == name, "what is written stays what was written"
    assert not list(check({"resources": [{"urn": URN, "inputs": {"__provider": serialize_provider(found)}}]}))


def test_every_provider_has_a_name_and_every_name_is_recorded() -> None:
    """A name is added to the file by the release that has it, and is never taken out."""
    assert sorted(providers.RELEASED) == RELEASES.read_text().split()
    named = {type(providers.provider(name)) for name in providers.RELEASED}
    abstract = {each for each in classes(KitProvider) if classes(each)}
    ours = {each for each in classes(KitProvider) if each.__module__.startswith("llmops_kit.infra.")}
    assert ours - abstract == named
    assert len(named) == len(providers.RELEASED)


def call(name: str, module: str = "llmops_kit.infra.providers", function: str = "provider") -> bytes:
    """A pickle of the shape that the kit's providers have."""
    words = [b"\x8c" + bytes([len(word)]) + word.encode() + b"\x94" for word in (module, function, name)]
    return b"\x80\x04" + words[0] + words[1] + b"\x93\x94" + words[2] + b"\x85\x94R\x94."


def of_class(module: str, name: str) -> bytes:
    """A pickle as kits from before the first release wrote it."""
    words = [b"\x8c" + bytes([len(word)]) + word.encode() + b"\x94" for word in (module, name)]
    return b"\x80\x04" + b"".join(words) + b"\x93\x94)\x81\x94."


class Calls:
    def __reduce__(self) -> Any:
        return os.getpid, ()


class CallsByName:
    def __reduce__(self) -> Any:
        return os.system, ("aws/account",)


@pytest.mark.vulnerability(10)
@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Calls()),
        pickle.dumps(CallsByName()),
        pickle.dumps(Calls(), protocol=0),
        pickle.dumps(0),
        b"",
        b"\x80\x04.",
        call("aws/account", "os", "system"),
        call("aws/account", "llmops_kit.infra.providers", "importlib.import_module"),
        call("aws/account", "llmops_kit.infra.providers", "name_of"),
        call("aws/account", "infra", "provider"),
        call("aws/account", "tests.unit.cli.pulumi_engine.test_provider_guard", "call"),
        call("llmops_kit.infra.targets.aws.providers.account:AwsAccountProvider"),
        call("../account"),
        call(""),
        call("aws/account")[:-1] + b"}\x8c\x01a\x4b\x01sb.",
        call("aws/account").replace(b"\x85\x94R", b"\x85\x94\x81"),
        of_class("os", "system"),
        of_class("infra", "os.system"),
        of_class("infra.targets..os", "system"),
        of_class("infra.__main__", "main"),
        base64.b64decode(serialize_provider(Elsewhere())),
    ],
)
def test_vulnerability_10_nothing_but_a_released_name_is_loaded(content: bytes) -> None:
    with pytest.raises(RefusedProviderError, match=r"^somebody changed the stack's state") as refused:
        load(content)
    assert "earlier version" in refused.value.fix


@pytest.mark.parametrize("name", ["aws/no-such", "gcp/account"])
def test_a_name_of_another_release_is_no_sign_of_an_attack(name: str) -> None:
    with pytest.raises(RefusedProviderError, match=rf"^this kit does not know .* it is named {name}") as refused:
        load(call(name))
    assert "install the version of the kit" in refused.value.fix


def test_a_state_from_before_the_first_release_says_the_way_over() -> None:
    for module, name in (
        ("infra.targets.aws.account", "AwsAccountProvider"),
        ("infra.targets.local.storage", "Store"),
    ):
        with pytest.raises(RefusedProviderError, match=r"^this state is of a kit from before") as refused:
            load(of_class(module, name))
        assert "keeps data, keys and images" in refused.value.fix
    with pytest.raises(RefusedProviderError, match=r"^this state is of a kit from before .* it names aws/account"):
        load(call("aws/account", "infra.providers"))


def test_what_a_provider_holds_is_never_written() -> None:
    provider = AwsAccountProvider()
    provider.__dict__["more"] = 1
    assert serialize_provider(provider) == serialize_provider(AwsAccountProvider())


@pytest.mark.vulnerability(10)
@pytest.mark.parametrize(
    "value", ["", "no base64", text_of(pickle.dumps(Calls())), {"4dabf18193072939515e22adb298388d": "x"}, None, 7]
)
def test_vulnerability_10_a_planted_provider_is_found_in_an_exported_state(value: object) -> None:
    planted = {"urn": URN, "outputs": {"__provider": value}}
    for state in ({"resources": [{"urn": "other"}, planted]}, {"pending_operations": [{"resource": planted}]}):
        ((urn, reason),) = check(state)
        assert urn == URN
        assert "provider" in str(reason)
    assert not list(check({}))


@pytest.mark.vulnerability(16)
def test_vulnerability_16_a_provider_of_another_target_is_found_in_an_exported_state() -> None:
    resource = {"urn": URN, "inputs": {"__provider": text_of(call("local/store"))}}
    assert not list(check({"resources": [resource]}, "local"))
    assert not list(check({"resources": [resource]}))
    ((urn, reason),) = check({"resources": [resource]}, "aws")
    assert urn == URN
    assert str(reason).endswith("its provider is local/store, and the stack's target is aws")
    assert "set it back and run `llmops down` first" in reason.fix


@pytest.mark.parametrize(
    ("text", "urn", "target"),
    [
        ("config: {shelf:target: aws}", "urn:pulumi:dev::shelf::t::n", "aws"),
        ("config: {other:target: aws}", "urn:pulumi:dev::shelf::t::n", ""),
        ("config: {shelf:target: aws}", "urn:pulumi:prod::shelf::t::n", ""),
        ("config: {shelf:target: aws}", "urn:pulumi:../x/dev::shelf::t::n", ""),
        ("config: {shelf:target: aws}", "", ""),
        ("config: [", "urn:pulumi:dev::shelf::t::n", ""),
        ("[]", "urn:pulumi:dev::shelf::t::n", ""),
        ("", "urn:pulumi:dev::shelf::t::n", ""),
    ],
)
def test_the_target_is_read_from_the_stack_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, urn: str, target: str
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: shelf\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(text)
    (tmp_path / "program").mkdir()
    monkeypatch.chdir(tmp_path / "program")
    assert target_of(urn) == target
