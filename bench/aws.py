"""A stack on the twin of AWS: `python -m bench.aws [--rounds 7]`.

The start of the twin; `pulumi preview` and a no-op `pulumi up` of a stack with one endpoint, in turns with two programs
that declare nothing: one imports pulumi_aws, whose services are loaded when they are used, the other one loads those
that the kit uses; a whole up and a whole down. Ratios are of medians of one run.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.aws import Account, AwsStack, make_stack, running_account
from twins.aws import control

_COMMANDS = {"preview": ["preview"], "no-op up": ["up", "--yes"]}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-aws-") as name:
        folder = Path(name).resolve()
        _start(folder / "starts", rounds)
        with running_account(folder) as account:
            _stack(account, folder, rounds)


def _start(folder: Path, rounds: int) -> None:
    """From the command to the first answer, with an empty home and with a used one."""
    for label, home in {"empty": lambda n: folder / str(n), "used": lambda n: folder / "0"}.items():
        times = []
        for number in range(rounds):
            place = home(number)
            times.append(_seconds(lambda place=place: control.up(place, say=lambda _: None)))
            control.down(place)
        print(f"twin starts, {label} home     {statistics.median(times):6.2f} s")


def _stack(account: Account, folder: Path, rounds: int) -> None:
    stack = make_stack(account, folder / "kit", "bench", deploy=False)
    print(f"up without endpoints         {_seconds(stack.up):6.2f} s")
    stack.serve("chatbot", stack.add_version("chatbot@1"))
    print(f"up of the first endpoint     {_seconds(stack.up):6.2f} s")
    # The SDK loads a service when something of it is asked for that the module does not have yet.
    loaded = "import pulumi_aws\n\n" + "".join(f"hasattr(pulumi_aws.{name}, 'outputs')\n" for name in _services())
    programs = {"empty": "import pulumi_aws\n", "services": loaded}
    stacks = {name: _program(account, folder / name, text) for name, text in programs.items()} | {"kit": stack}
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


def _program(account: Account, folder: Path, text: str) -> AwsStack:
    """A stack of a program that declares nothing."""
    stack = AwsStack(folder, f"bench-{folder.name}", account.environ, account=account)
    stack.make()
    (stack.folder / "__main__.py").write_text(text)
    stack.pulumi("up", "--yes", "--skip-preview")
    return stack


def _services() -> list[str]:
    """Modules of pulumi_aws that the kit's program imports."""
    import ast

    import infra.targets.aws as target

    found = set()
    for file in Path(target.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "pulumi_aws":
                found |= {alias.name for alias in node.names}
    return sorted(found)


def _unchanged(stack: AwsStack, command: list[str]) -> None:
    text = stack.pulumi(*command)
    assert "unchanged" in text, text
    assert not any(word in text for word in ("to create", "to update", "updated", "created")), text


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
