"""What moto keeps for the services that the kit uses can be written, and read again."""

import gc
import ipaddress
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from moto.backends import get_backend
from moto.s3.models import get_canned_acl

from llmops_twins.aws.persistence import AwsKeeper
from llmops_twins.aws.pickles import StatePickles, _named_backends
from llmops_twins.aws.twin import AccountTwin

SERVICES = ["s3", "iam", "sts", "kms", "ecr", "logs", "cloudwatch", "applicationautoscaling", "scheduler", "events"]
SERVICES += ["budgets", "sns", "secretsmanager", "servicequotas", "sqs", "dynamodb", "ec2"]
UNCHANGING = (
    *(type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType, property),
    *(str, bytes, int, float, complex, type(None), re.Pattern, ipaddress.IPv4Address, ipaddress.IPv4Network),
)


@pytest.mark.parametrize("service", SERVICES)
def test_an_empty_backend_is_written_and_read(tmp_path: Path, service: str) -> None:
    name: Any = service
    account = get_backend(name)["999999999999"]
    backend = account["us-east-1" if "us-east-1" in account.regions else "aws"]
    fields = vars(backend).keys()
    pickles = StatePickles(tmp_path)
    parts = pickles.pickled({})
    backend.__dict__ = {}
    pickles.unpickled(parts)
    assert vars(backend).keys() == fields


@dataclass
class Bucket:
    """A bucket of moto's backend."""

    s3: Any

    @property
    def keys(self) -> Any:
        """Its objects, of the state that is there now."""
        return self.s3.buckets["kept-by-a-test"].keys


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    """A versioned bucket, in an account of the test's own, with one object in two versions."""
    s3 = get_backend("s3")["999999999998"]["aws"]
    s3.create_bucket("kept-by-a-test", "us-east-1")
    s3.put_bucket_versioning("kept-by-a-test", "Enabled")
    for body in (b"first", b"second"):
        s3.put_object("kept-by-a-test", "key", body)
    yield Bucket(s3)
    s3.reset()


def bodies(folder: Path) -> list[bytes]:
    """The content of the files of bodies."""
    return sorted(path.read_bytes() for path in folder.iterdir())


def test_versions_of_an_object_keep_their_order_and_their_bodies(tmp_path: Path, bucket: Bucket) -> None:
    pickles = StatePickles(tmp_path)
    pickles.unpickled(pickles.pickled({}))
    assert [key.value for key in bucket.keys.getlist("key")] == [b"first", b"second"]
    assert bodies(tmp_path) == [b"first", b"second"]
    bucket.keys["key"].value = b"third"
    assert bodies(tmp_path) == [b"first", b"second"]
    assert bucket.keys["key"].value == b"third"


def changes(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Which objects of S3 were pickled anew."""
    return sorted(name for name in after if name.startswith("object/") and before.get(name) is not after[name])


def test_an_object_is_pickled_again_when_something_of_it_has_changed(tmp_path: Path, bucket: Bucket) -> None:
    pickles = StatePickles(tmp_path)
    first = pickles.pickled({})
    assert changes(first, pickles.pickled({})) == []
    _, key = bucket.keys.getlist("key")
    (name,) = (each.name for each in pickles._objects.values() if each.key is key)
    for change in (
        lambda: key.set_metadata({"Content-Type": "text/plain"}),
        lambda: key.set_metadata({"Content-Type": "text/html"}, replace=True),
        lambda: key.set_acl(get_canned_acl("public-read")),
        lambda: key.set_storage_class("GLACIER"),
        lambda: key.restore(1),
        lambda: setattr(key, "lock_mode", "GOVERNANCE"),
        lambda: setattr(key, "value", b"third"),
    ):
        before = pickles.pickled({})
        change()
        after = pickles.pickled({})
        assert changes(before, after) == [name]
    expected = {name: value for name, value in vars(key).items() if type(value) in (str, int, type(None))}
    pickles.unpickled(after)
    restored = vars(bucket.keys["key"])
    assert {name: restored[name] for name in expected} == expected
    assert restored["_metadata"] == {"Content-Type": "text/html"}
    assert bucket.keys["key"].value == b"third"


def test_parts_of_an_upload_are_kept_with_it(tmp_path: Path, bucket: Bucket) -> None:
    s3 = bucket.s3
    acl = get_canned_acl("private")
    upload = s3.create_multipart_upload("kept-by-a-test", "large", {}, "STANDARD", [], acl, None, None).id
    s3.upload_part("kept-by-a-test", upload, 1, b"1" * 5_242_880)
    pickles = StatePickles(tmp_path)
    before = pickles.pickled({})
    s3.upload_part("kept-by-a-test", upload, 2, b"2")
    assert len(changes(before, pickles.pickled({}))) == 1
    pickles.unpickled(pickles.pickled({}))
    parts = s3.buckets["kept-by-a-test"].multiparts[upload].parts
    assert [(number, len(part.value)) for number, part in parts.items()] == [(1, 5_242_880), (2, 1)]


def test_the_body_of_a_deleted_object_goes_with_the_next_save(tmp_path: Path, bucket: Bucket) -> None:
    twin = AccountTwin(tmp_path)
    keeper = AwsKeeper(twin)
    keeper.save()
    folder = tmp_path / "objects"
    (folder / "left-by-a-killed-process").write_bytes(b"")
    again = AwsKeeper(twin)
    assert again.load()
    first, _ = bucket.keys.getlist("key")
    bucket.s3.delete_object("kept-by-a-test", "key", version_id=first.version_id)
    again.save()
    assert bodies(folder) == [b"second"]


def test_no_object_of_moto_belongs_to_two_backends() -> None:
    for service in SERVICES:
        name: Any = service
        account = get_backend(name)["999999999999"]
        assert account["us-east-1" if "us-east-1" in account.regions else "aws"]
    backends = [backend for _, backend in _named_backends()]
    met: dict[int, Any] = {}
    for backend in backends:
        found = reachable(backend, {id(each) for each in backends})
        assert [met[each] for each in found.keys() & met.keys()] == []
        met |= found


def reachable(backend: Any, others: set[int]) -> dict[int, Any]:
    """Returns what can change in a backend, by id, at any depth, without what belongs to other backends."""
    found: dict[int, Any] = {}
    left = list(vars(backend).values())
    while left:
        value = left.pop()
        if id(value) in found or id(value) in others or isinstance(value, UNCHANGING):
            continue
        if not isinstance(value, tuple | frozenset):
            found[id(value)] = value
        left += gc.get_referents(value)
    return found
