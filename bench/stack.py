"""A stack on a cloud's twin: `python -m bench.stack aws|azure [--rounds 7]`.

The start of the twin; `pulumi preview` and a no-op `pulumi up` of a stack with one endpoint, in turns with two programs
that declare nothing: one imports the cloud's SDK, whose services are loaded when they are used, the other one loads
those that the kit uses; a whole up and a whole down. Ratios are of medians of one run.
"""

import argparse
import ast
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

_COMMANDS = {"preview": ["preview"], "no-op up": ["up", "--yes"]}


@dataclass(frozen=True)
class Cloud:
    """What a cloud's own test support is called. `running` gives what `make_stack` and `stack` take first."""

    sdk: str
    target: str
    support: str
    running: str
    stack: str
    control: str

    @property
    def tests(self) -> ModuleType:
        """The test support."""
        return import_module(self.support)


CLOUDS = {
    "aws": Cloud(
        "pulumi_aws",
        "infra.targets.aws",
        "tests.support.aws",
        "running_account",
        "AwsStack",
        "twins.aws.control",
    ),
    "azure": Cloud(
        "pulumi_azure_native",
        "infra.targets.azure",
        "tests.support.azure_twin",
        "running_twin",
        "AzureStack",
        "twins.azure.control",
    ),
}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cloud", choices=sorted(CLOUDS))
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    cloud = CLOUDS[given.cloud]
    with tempfile.TemporaryDirectory(prefix="bench-stack-") as name:
        folder = Path(name).resolve()
        _start(cloud, folder / "starts", given.rounds)
        running: AbstractContextManager[Any] = getattr(cloud.tests, cloud.running)(folder)
        with running as place:
            _stack(cloud, place, folder, given.rounds)


def _start(cloud: Cloud, folder: Path, rounds: int) -> None:
    """From the command to the first answer, with an empty home and with a used one."""
    control = import_module(cloud.control)
    for label, home in {"empty": lambda n: folder / str(n), "used": lambda n: folder / "0"}.items():
        times = []
        for number in range(rounds):
            place = home(number)
            times.append(_seconds(lambda place=place: control.up(place, say=lambda _: None)))
            control.down(place)
        print(f"twin starts, {label} home     {statistics.median(times):6.2f} s")


def _stack(cloud: Cloud, place: Any, folder: Path, rounds: int) -> None:
    stack = cloud.tests.make_stack(place, folder / "kit", "bench", deploy=False)
    print(f"up without endpoints         {_seconds(stack.up):6.2f} s")
    stack.serve("chatbot", stack.add_version("chatbot@1"))
    print(f"up of the first endpoint     {_seconds(stack.up):6.2f} s")
    # The SDK loads a service when something of it is asked for that the module does not have yet.
    sdk = cloud.sdk
    loaded = f"import {sdk}\n\n" + "".join(f"hasattr({sdk}.{name}, 'outputs')\n" for name in _services(cloud))
    programs = {"empty": f"import {sdk}\n", "services": loaded}
    stacks = {name: _program(cloud, place, folder / name, text) for name, text in programs.items()} | {"kit": stack}
    print(f"{rounds} rounds; medians in s, and the kit's ratio to both\n{'':10} " + " ".join(f"{n:>9}" for n in stacks))
    for label, command in _COMMANDS.items():
        times: dict[str, list[float]] = {name: [] for name in stacks}
        for _ in range(rounds):
            for name, each in stacks.items():
                times[name].append(_seconds(lambda each=each, command=command: _unchanged(each, command)))
        empty, services, kit = (statistics.median(times[name]) for name in stacks)
        print(f"{label:10} {empty:9.2f} {services:9.2f} {kit:9.2f}   {kit / empty:.2f} {kit / services:.2f}")
    down = [sys.executable, "-m", "llmops", "down", "--data", stack.name, "--stack", stack.name]
    took = _seconds(
        lambda: subprocess.run(down, cwd=stack.folder, env=dict(stack.environ), check=True, capture_output=True)
    )
    print(f"llmops down --data           {took:6.2f} s")


def _program(cloud: Cloud, place: Any, folder: Path, text: str) -> Any:
    """A stack of a program that declares nothing."""
    stack = getattr(cloud.tests, cloud.stack)(folder, f"bench-{folder.name}", place.environ)
    stack.make()
    (stack.folder / "__main__.py").write_text(text)
    stack.pulumi("up", "--yes", "--skip-preview")
    return stack


def _services(cloud: Cloud) -> list[str]:
    """Modules of the SDK that the kit's program imports."""
    target = import_module(cloud.target)
    found = set()
    for file in Path(target.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == cloud.sdk:
                found |= {alias.name for alias in node.names if alias.name[0].islower()}
    return sorted(found)


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
