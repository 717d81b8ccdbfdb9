"""Which names may become paths."""

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from llmops_kit.core import object_keys
from llmops_kit.core.errors import IntegrityError
from tests.support.hostile import hostile_keys

GOOD = [
    "a",
    "model.safetensors",
    "openvino/openvino_model.xml",
    "größe 2/x",
    "..a",
    "a..",
    ".hidden",
    "x" * 255,
    "ab:c/d",
]
BAD = {
    "": "is empty",
    "/etc/passwd": "is absolute",
    "a//b": "an empty part",
    "a/": "an empty part",
    "a/../b": "a part '..'",
    "./a": "a part '.'",
    "..": "a part '..'",
    "C:/x": "a drive",
    "c:x": "a drive",
    "a/D:": "a drive",
    "a\\b": "a backslash",
    "a\0b": "a control character",
    "a\nb": "a control character",
    "\x1b[2J": "a control character",
    "a\u202eb": "not printable",
    "a\udc80": "not Unicode text",
    "n" * 5000: "has 5000 bytes, more than 1024",
    "x" * 256: "a part of 256 bytes",
    "ü" * 128: "a part of 256 bytes",
    "/".join("a" * 65): "65 folders deep",
}


@pytest.mark.parametrize("key", GOOD)
def test_plain_names_are_keys(key: str) -> None:
    assert object_keys.check(key, "here") == key


@pytest.mark.vulnerability(1)
@pytest.mark.parametrize(("key", "words"), BAD.items(), ids=[ascii(key)[:20] for key in BAD])
def test_vulnerability_1_keys_that_could_leave_a_folder_are_refused(key: str, words: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        object_keys.check(key, "s3://bucket")
    assert words in caught.value.what
    assert caught.value.where == "s3://bucket"
    assert caught.value.fix
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < 200


def test_names_of_one_listing_can_be_there_together() -> None:
    assert object_keys.check_all(["a", "b/c", "b/d"], "here") == ["a", "b/c", "b/d"]
    for names, words in (
        (["a", "a"], "'a' is there twice"),
        (["b/c/d", "b"], "'b' is a file and, for 'b/c/d', a folder"),
    ):
        with pytest.raises(IntegrityError, match=words):
            object_keys.check_all(names, "here")


@pytest.mark.vulnerability(1)
def test_vulnerability_1_what_a_key_may_be_stays_below_any_folder() -> None:
    """Held against pathlib's own idea of paths, on both kinds of systems."""
    accepted = 0
    for key in hostile_keys(1, 20_000, Path("/outside")):
        if object_keys.fault(key):
            continue
        accepted += 1
        for kind in (PurePosixPath, PureWindowsPath):
            path = kind("/base") / key
            assert path.parts[:2] == kind("/base").parts
            assert "/".join(path.parts[2:]) == key
            assert ".." not in path.parts
    assert accepted > 500
