"""The environment of an engine's process."""

import pytest

from llmops_kit.serving.engines.spawn import engine_environ


@pytest.mark.parametrize(
    ("own", "tunables"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=1:glibc.malloc.hugetlb=0"),
    ],
)
def test_an_engine_gets_huge_pages_and_the_last_tunable_wins(own: dict[str, str], tunables: str) -> None:
    assert engine_environ(own)["GLIBC_TUNABLES"] == tunables


def test_an_engine_is_offline_and_keeps_what_the_parent_says_of_threads() -> None:
    found = engine_environ({"HF_HUB_OFFLINE": "0", "OPENBLAS_NUM_THREADS": "4", "PATH": "/bin"})
    assert (found["HF_HUB_OFFLINE"], found["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert (found["OPENBLAS_NUM_THREADS"], found["PATH"]) == ("4", "/bin")
