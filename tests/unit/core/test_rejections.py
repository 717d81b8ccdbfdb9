"""The log that rejects a version: one writer for every store, and one reader."""

import json

import pytest

from llmops_kit.core.layout import rejection_log
from llmops_kit.core.rejections import append, clear, reject, rejection

SHA256 = "2" * 64


@pytest.fixture
def objects() -> dict[str, bytes]:
    return {}


def test_the_last_entry_decides(objects: dict[str, bytes]) -> None:
    def create(key: str, data: bytes) -> bool:
        return objects.setdefault(key, data) is data

    def count(log: str) -> int:
        return sum(key.startswith(f"{log}/") for key in objects)

    assert rejection(SHA256, objects.get) is None
    reject(SHA256, "5xx alarm", "chat", count, create, "chat: chatbot@1")
    found = rejection(SHA256, objects.get)
    assert found
    assert (found["action"], found["why"], found["instead"]) == ("rejected", "5xx alarm", "chat: chatbot@1")
    clear(SHA256, "fixed", count, create)
    assert rejection(SHA256, objects.get) is None
    reject(SHA256, "again", "chat", count, create)
    again = rejection(SHA256, objects.get)
    assert again
    assert "instead" not in again
    assert list(objects) == [f"{rejection_log(SHA256)}/{n:06d}.json" for n in (1, 2, 3)]


def test_a_writer_that_comes_second_takes_the_next_number(objects: dict[str, bytes]) -> None:
    objects["log/000001.json"] = b"{}"

    def create(key: str, data: bytes) -> bool:
        return objects.setdefault(key, data) is data

    append("log", {"a": "b"}, lambda _: 0, create)
    assert json.loads(objects["log/000002.json"]) == {"a": "b"}
    assert objects["log/000001.json"] == b"{}"
