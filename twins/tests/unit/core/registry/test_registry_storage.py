"""The program behind a twin's registries where it can't be had."""

from pathlib import Path

import pytest

from llmops_kit.core.errors import KitError
from llmops_twins.core.registry.registry_storage import Storage


def test_a_machine_without_the_program_says_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    storage = Storage(tmp_path / "registry", "llmops twin aws up")
    with pytest.raises(KitError, match="docker-registry is not on this machine") as refused:
        storage.connect()
    assert "apt-get install docker-registry" in refused.value.fix
    assert not storage.empty()
    storage.close()


def test_a_program_that_does_not_start_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker-registry").write_text("#!/bin/sh\necho no storage of this kind >&2\nexit 1\n")
    (tmp_path / "docker-registry").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    storage = Storage(tmp_path / "home", "llmops twin aws up")
    with pytest.raises(KitError, match="did not start: no storage of this kind"):
        storage.connect()


def test_nothing_starts_in_a_twin_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker-registry").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    storage = Storage(tmp_path / "home", "llmops twin aws up")
    storage.close()
    with pytest.raises(KitError, match="the twin is ending") as refused:
        storage.connect()
    assert refused.value.fix == "llmops twin aws up"
