import base64
import importlib
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

import infra
from infra.targets.aws.account import AccountProvider
from llmops.pulumi_engine.provider_guard import check, load, reference

URN = "urn:pulumi:dev::llmops::pulumi-python:dynamic/llmops:Store::store"


def providers() -> list[type[ResourceProvider]]:
    """All that the kit has."""
    root = Path(infra.__path__[0])
    found = []
    for path in sorted(root.rglob("*.py")):
        for name in re.findall(r"^class (\w+)\(KitProvider\)", path.read_text(), re.MULTILINE):
            module = ".".join(("infra", *path.relative_to(root).with_suffix("").parts))
            found.append(getattr(importlib.import_module(module), name))
    return found


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


class Elsewhere(ResourceProvider):
    """No provider of the kit's."""


def test_every_provider_of_the_kit_is_read_back_from_what_the_sdk_writes() -> None:
    assert len(providers()) > 10
    for provider in providers():
        text = serialize_provider(provider())
        assert reference(text) == (provider.__module__, provider.__name__)
        assert type(load(base64.b64decode(text))) is provider
        assert not list(check({"resources": [{"urn": URN, "inputs": {"__provider": text}}]}))


def named(module: str, name: str) -> bytes:
    """A pickle of the shape that the kit's providers have."""
    words = [b"\x8c" + bytes([len(word)]) + word.encode() + b"\x94" for word in (module, name)]
    return b"\x80\x04" + b"".join(words) + b"\x93\x94)\x81\x94."


class Calls:
    def __reduce__(self) -> Any:
        return os.getpid, ()


def with_state() -> bytes:
    provider = AccountProvider()
    provider.__dict__["more"] = 1
    return base64.b64decode(serialize_provider(provider))


@pytest.mark.vulnerability(10)
@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Calls()),
        pickle.dumps(Calls(), protocol=0),
        pickle.dumps(0),
        b"",
        b"\x80\x04.",
        named("os", "system"),
        named("infra", "os.system"),
        named("infra.targets.dynamic.sys", "exit"),
        named("infra.__main__", "main"),
        named("infra.targets.dynamic", "sys"),
        named("infra.targets.dynamic", "Properties"),
        named("infra.targets.dynamic", "_PROVIDER"),
        named("infra.targets.aws.account", "KitProvider"),
        named("infra.no.such", "Provider"),
        named("infra..os", "system"),
        named("tests.unit.llmops.pulumi_engine.test_provider_guard", "Elsewhere"),
        base64.b64decode(serialize_provider(Elsewhere())),
        with_state(),
        named("infra.targets.aws.account", "AccountProvider")[:-1] + b"}\x8c\x01a\x4b\x01sb.",
        named("infra.targets.aws.account", "AccountProvider").replace(b")\x81", b")R"),
    ],
)
def test_vulnerability_10_nothing_but_a_reference_of_a_provider_is_loaded(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it (names|holds|is no)"):
        load(content)


@pytest.mark.vulnerability(10)
@pytest.mark.parametrize(
    "value", ["", "no base64", text_of(pickle.dumps(Calls())), {"4dabf18193072939515e22adb298388d": "x"}, None, 7]
)
def test_vulnerability_10_a_planted_provider_is_found_in_an_exported_state(value: object) -> None:
    planted = {"urn": URN, "outputs": {"__provider": value}}
    for state in ({"resources": [{"urn": "other"}, planted]}, {"pending_operations": [{"resource": planted}]}):
        ((urn, reason),) = check(state)
        assert urn == URN
        assert "provider" in reason
    assert not list(check({}))
