"""A stack on each cloud's twin: `python -m bench.stack [aws|azure] [--rounds 7]`.

The start of the twin; `pulumi preview` and a no-op `pulumi up` of a stack with one endpoint, in turns with a program
that declares the same resources by hand (bench/plain_program.py); a whole up and a whole down. Ratios are of medians of
one run.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from bench import plain_program
from llmops_kit.cli.stacks.backend import folder_of, folder_url

_COMMANDS = {"preview": ["preview"], "no-op up": ["up", "--yes"]}


@dataclass(frozen=True)
class BenchedCloud:
    """What a cloud's own test support is called. `running` gives what `make_stack` and `stack` take first."""

    sdk: str
    support: str
    running: str
    control: str

    @property
    def tests(self) -> ModuleType:
        """The test support."""
        return import_module(self.support)


CLOUDS = {
    "aws": BenchedCloud("pulumi_aws", "tests.support.clouds.aws", "running_account", "llmops_twins.aws.control"),
    "azure": BenchedCloud(
        "pulumi_azure_native", "tests.support.clouds.azure_twin", "running_twin", "llmops_twins.azure.control"
    ),
}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cloud", nargs="?", choices=sorted(CLOUDS))
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    for name in [given.cloud] if given.cloud else sorted(CLOUDS):
        print(f"{name}:")
        _measure(CLOUDS[name], given.rounds)


def _measure(cloud: BenchedCloud, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-stack-") as name:
        folder = Path(name).resolve()
        _start(cloud, folder / "starts", rounds)
        running: AbstractContextManager[Any] = getattr(cloud.tests, cloud.running)(folder)
        with running as place:
            _stack(cloud, place, folder, rounds)


def _start(cloud: BenchedCloud, folder: Path, rounds: int) -> None:
    """From the command to the first answer, with an empty home and with a used one."""
    control = import_module(cloud.control)
    for label, home in {"empty": lambda n: folder / str(n), "used": lambda n: folder / "0"}.items():
        times = []
        for number in range(rounds):
            place = home(number)
            times.append(_seconds(lambda place=place: control.up(place, say=lambda _: None)))
            control.down(place)
        print(f"twin starts, {label} home     {statistics.median(times):6.2f} s")


def _stack(cloud: BenchedCloud, place: Any, folder: Path, rounds: int) -> None:
    stack = cloud.tests.make_stack(place, folder / "kit", "bench", deploy=False)
    print(f"up without endpoints         {_seconds(stack.up):6.2f} s")
    stack.serve("chatbot", stack.add_version("chatbot@1"))
    print(f"up of the first endpoint     {_seconds(stack.up):6.2f} s")
    stacks = {"plain": _plain(cloud, stack, folder / "plain"), "kit": stack}
    print(f"{rounds} rounds; medians in s, and the kit's ratio\n{'':10} {'plain':>9} {'kit':>9}")
    for label, command in _COMMANDS.items():
        times: dict[str, list[float]] = {name: [] for name in stacks}
        for _ in range(rounds):
            for name, each in stacks.items():
                times[name].append(_seconds(lambda each=each, command=command: _unchanged(each, command)))
        plain, kit = (statistics.median(times[name]) for name in stacks)
        print(f"{label:10} {plain:9.2f} {kit:9.2f}   {kit / plain:.2f}")
    down = [sys.executable, "-m", "llmops_kit.cli", "down", "--data", stack.name, "--stack", stack.name]
    took = _seconds(
        lambda: subprocess.run(down, cwd=stack.folder, env=dict(stack.environ), check=True, capture_output=True)
    )
    print(f"llmops down --data           {took:6.2f} s")


def _plain(cloud: BenchedCloud, stack: Any, folder: Path) -> Any:
    """The same stack by a program that declares its resources by hand, over a copy of its state."""
    folder.mkdir()
    for name in ("Pulumi.yaml", f"Pulumi.{stack.name}.yaml"):
        shutil.copy(stack.folder / name, folder / name)
    shutil.copytree(folder_of(stack.environ["PULUMI_BACKEND_URL"]), folder / "state")
    count = plain_program.write(folder, json.loads(stack.pulumi("stack", "export", "--show-secrets")), cloud.sdk)
    print(f"resources                    {count:6}")
    return replace(stack, folder=folder, environ={**stack.environ, "PULUMI_BACKEND_URL": folder_url(folder / "state")})


def _unchanged(stack: Any, command: list[str]) -> None:
    text = stack.pulumi(*command)
    assert "unchanged" in text, text
    assert not any(word in text for word in ("to create", "to update", "updated", "created")), text


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
