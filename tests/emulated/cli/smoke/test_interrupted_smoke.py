"""`llmops smoke`, whole; killed, refused and over budget: it goes on, or is taken down, and leaves nothing."""

import json
import signal
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest

from llmops_kit.cli.rehearsal.smoke.smoke_steps import END, STEPS
from tests.emulated.cli.conftest import wait_until
from tests.emulated.cli.smoke.conftest import Owner, require_all, require_nameless
from tests.support.runs.rehearsing import Rehearsing

_DELAYS = (0.2, 3.0, 6.0)  # seconds of a step, by turns, until it is killed

pytestmark = pytest.mark.long


def at(smoking: Rehearsing, owner: Owner, step: str, do: Callable[[Any], None], *words: str) -> tuple[int, str]:
    """Start it, do something to the process when a step has begun; its exit code and what it printed."""
    title = next(s.title for s in (*STEPS, END) if s.id == step)
    process = smoking.start("--yes", *words, environ=owner.environ)
    lines: list[str] = []
    assert process.stdout
    with process.stdout:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("[") and line.rstrip().endswith(title):
                do(process)
                break
        else:
            raise AssertionError("".join(lines))
        lines += process.stdout
    return process.wait(), "".join(lines)


both = pytest.mark.parametrize("smoking", ["aws", "azure"], indirect=True)


@both
def test_every_step_passes_and_nothing_is_left(smoking: Rehearsing, owner: Owner) -> None:
    require_all(smoking, smoking.run("--yes", "--record", "recording.json", environ=owner.environ))
    assert owner.left() == owner.expected
    require_nameless(smoking, owner, "down")


@both
def test_killed_at_every_step_in_turn_and_resumed_it_leaves_nothing(smoking: Rehearsing, owner: Owner) -> None:
    words: tuple[str, ...] = ()
    for step, delay in zip((*STEPS, END), cycle(_DELAYS), strict=False):

        def kill(process: Any, delay: float = delay) -> None:
            time.sleep(delay)
            process.kill()

        code, text = at(smoking, owner, step.id, kill, *words)
        assert code == -signal.SIGKILL, text
        words = ("--resume",)
    require_all(smoking, smoking.run("--yes", "--resume", environ=owner.environ))
    assert owner.left() == owner.expected


@both
@pytest.mark.parametrize("step", ["bootstrap", "deploy", "train", "serve", "worse"])
def test_killed_and_taken_down_it_leaves_nothing(smoking: Rehearsing, owner: Owner, step: str) -> None:
    def kill(process: Any) -> None:
        time.sleep(4)
        wait_until(owner.left)
        process.kill()

    assert at(smoking, owner, step, kill)[0] == -signal.SIGKILL
    assert owner.left()
    assert "has not ended" in smoking.run("--yes", code=3, environ=owner.environ)
    assert "nothing is left in the account" in smoking.run("--yes", "--take-down", environ=owner.environ)
    assert owner.left().keys() <= owner.expected.keys()


@both
@pytest.mark.parametrize("delay", _DELAYS)
def test_a_take_down_that_is_killed_goes_on(smoking: Rehearsing, owner: Owner, delay: float) -> None:
    def kill(process: Any) -> None:
        time.sleep(delay)
        process.kill()

    assert at(smoking, owner, "push", kill)[0] == -signal.SIGKILL
    assert at(smoking, owner, END.id, kill, "--take-down")[0] == -signal.SIGKILL
    assert "nothing is left in the account" in smoking.run("--yes", "--take-down", environ=owner.environ)
    assert owner.left().keys() <= owner.expected.keys()


@pytest.mark.parametrize("smoking", ["aws"], indirect=True)
def test_terminated_it_stops_what_costs_and_can_be_taken_down(smoking: Rehearsing, owner: Owner) -> None:
    code, _ = at(smoking, owner, "serve", lambda process: process.send_signal(signal.SIGTERM))
    assert code != 0
    kept = json.loads((smoking.project / ".llmops/smoke/aws/progress.json").read_text())
    assert kept["stopped"]
    assert "nothing is left in the account" in smoking.run("--yes", "--take-down", environ=owner.environ)
    assert owner.left() == {}


@both
def test_a_budget_that_is_reached_takes_it_down_in_time(smoking: Rehearsing, owner: Owner) -> None:
    text = smoking.run("--yes", "--max-usd", "0.02", code=1, environ=owner.environ)
    assert "--max-usd 0.02" in text
    assert "nothing is left in the account" in text
    assert smoking.report("smoke-report")["usd"] <= 0.02
    assert owner.left().keys() <= owner.expected.keys()


_CASES = {
    "aws": (
        ({"service": "kms", "operation": "CreateKey"}, "with an explicit deny in a service control policy"),
        ({"ml.m5.xlarge for training job usage": 0}, "train"),
        ("*:root", "ExpiredToken"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "these credentials are of"),
    ),
    "azure": (
        ({"service": "Microsoft.KeyVault", "operation": "vaults/write"}, "was disallowed by policy"),
        ({"Standard DSv2 Family Cluster Dedicated vCPUs": 0}, "deploy"),
        ("00000000-0000-0000-0000-00000000000a", "Expired"),
        (dict.fromkeys(("AZURE_SUBSCRIPTION_ID", "ARM_SUBSCRIPTION_ID"), "1" * 8 + "-0000-0000-0000-" + "1" * 12), ""),
    ),
}


@both
def test_each_refusal_is_one_error_with_step_and_fix_and_a_resume_goes_on(smoking: Rehearsing, owner: Owner) -> None:
    (policy, denied), (no_quota, without), (principal, expired), (others, whose) = _CASES[smoking.cloud]

    def refused(text: str, step: str, said: str) -> None:
        assert f"({step})" in text
        _, _, error = text.partition("\nfailed: ")
        assert error, text
        assert said in error, text
        assert "  fix: " in error, text
        assert error.count("\nfailed: ") == 0

    assert "--max-usd 10" in smoking.run("--yes", "--max-usd", "0", code=1, environ=owner.environ)
    assert owner.left() == {}

    owner.fault("policy", **policy)
    refused(smoking.run("--yes", code=1, environ=owner.environ), "bootstrap", denied)
    owner.clear_faults()

    owner.settings(quotas=no_quota)
    refused(smoking.run("--yes", "--resume", code=1, environ=owner.environ), without, "quota")
    owner.settings(quotas={})

    text = smoking.run("--yes", "--resume", code=1, environ={**owner.environ, **others})
    assert whose in text
    assert "fix: " in text

    code, text = at(smoking, owner, "serve", lambda _: owner.fault("expired", principal=principal), "--resume")
    assert code == 1
    refused(text, "serve", expired)
    assert "login" in text.partition("fix: ")[2].splitlines()[0]
    assert "may still run" in text
    owner.clear_faults()

    code, text = at(smoking, owner, "ask", lambda process: process.send_signal(signal.SIGINT), "--resume")
    assert "--take-down` removes it" in text
    assert "nothing is left in the account" in smoking.run("--yes", "--take-down", environ=owner.environ)
    assert owner.left().keys() <= owner.expected.keys()
