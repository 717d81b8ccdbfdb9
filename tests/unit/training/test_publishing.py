"""One work at a time beside the training; what it raises is not lost."""

import threading

import pytest

from llmops_kit.training.publishing import Publisher


def test_the_next_one_waits_and_raises_what_the_last_one_raised() -> None:
    go, done = threading.Event(), []

    def slow() -> None:
        go.wait(60)
        done.append("slow")

    def full() -> None:
        raise OSError("no space")

    with Publisher() as publisher:
        publisher.start(slow)
        assert done == []
        go.set()
        publisher.start(full)
        assert done == ["slow"]
        with pytest.raises(OSError, match="no space"):
            publisher.start(slow)
        publisher.wait()  # it was told once
    with Publisher() as publisher:
        publisher.start(slow)
    assert done == ["slow", "slow"]
