"""Which Python tools/setup.sh makes .venv with, and what tools/setup.py says when it is done."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tools import setup

FUNCTIONS = (CHECKOUT / "tools/setup.sh").read_text().partition("get_uv() {")[0].partition("fail() {")
ANSWERS = {"plain": "plain", "optimized": "optimized", "old": ""}


@pytest.fixture
def pythons(tmp_path: Path) -> Path:
    """Programs that answer as Pythons of each kind do; `old` is none that the locks are made for."""
    for name, kind in ANSWERS.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\necho '{path if kind else ''} {kind or 'optimized'}'\n")
        path.chmod(0o755)
    return tmp_path


def found(*candidates: object) -> "subprocess.CompletedProcess[str]":
    script = "".join(FUNCTIONS[1:]) + 'find_pythons\nprintf "%s\\nbase=%s\\n" "$hint" "$base"\n'
    named = " ".join(map(str, candidates))
    return subprocess.run(["sh", "-euc", script], env={"PYTHON": named}, capture_output=True, text=True, check=False)


def test_the_first_optimized_one_is_taken_and_why_the_first_was_not(pythons: Path) -> None:
    said = found(pythons / "missing", pythons / "old", pythons / "plain", pythons / "optimized").stdout
    assert said.endswith(f"base={pythons}/optimized\n")
    assert f"make PYTHON={pythons}/plain " in said
    assert said.startswith("hint: ")
    assert len(said.splitlines()) == 2, "nothing is said before the end"


def test_one_that_is_not_optimized_is_better_than_none(pythons: Path) -> None:
    said = found(pythons / "old", pythons / "plain").stdout
    assert said.endswith(f"base={pythons}/plain\n")
    assert "a third longer" in said


def test_without_any_the_way_out_is_named(pythons: Path) -> None:
    done = found(pythons / "old")
    assert done.returncode == 1
    assert "no Python 3.11 to 3.14" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_this_python_is_one() -> None:
    assert found(sys.executable).stdout.endswith(f"base={sys.executable}\n")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose installation is a file that a test writes."""
    (tmp_path / "tools").mkdir()
    for name, value in {"CHECKOUT": tmp_path, "LOG": tmp_path / "log", "HINT": tmp_path / "hint"}.items():
        monkeypatch.setattr(setup, name, value)
    monkeypatch.delenv("LLMOPS_SETUP_ENGINE", raising=False)
    monkeypatch.delenv("LLMOPS_SETUP_FOR", raising=False)
    monkeypatch.setenv("LLMOPS_SETUP_HINT", "hint: another one is quicker")
    return tmp_path


def installation(checkout: Path, script: str) -> None:
    path = checkout / "tools/setup.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_hint_is_the_last_line(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installation(checkout, 'echo "installing $2"')
    assert setup.main("kit") == 0
    step, total, hint = capsys.readouterr().out.splitlines()
    assert step.startswith("  Python packages (kit) ")
    assert total.startswith("  set up in ")
    assert hint == "hint: another one is quicker"
    assert "installing kit" in (checkout / "log").read_text()


def test_the_demo_says_the_hint_at_its_own_end(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLMOPS_SETUP_FOR", "demo")
    installation(checkout, "true")
    assert setup.main("kit") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert (checkout / "hint").read_text() == "hint: another one is quicker"


def test_a_failed_installation_names_its_log(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installation(checkout, "echo no connection; exit 2")
    assert setup.main("kit") == 1
    said = capsys.readouterr().err
    assert "  no connection\n" in said
    assert f"log: {checkout / 'log'}" in said
