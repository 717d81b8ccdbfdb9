"""A stack on the twin of AWS: `python -m bench.aws [--rounds 7]`.

The start of the twin; `pulumi preview` and a no-op `pulumi up` of a stack with one endpoint against a program that
imports pulumi_aws and the services that the kit uses, and declares nothing, in turns; a whole up and a whole down.
Ratios are of medians of one run. The stand-in plugin serves both where the real one is not installed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.aws import Account, AwsStack, make_stack, running_account
from twins.aws import control

_EMPTY = "import pulumi_aws\nfrom pulumi_aws import {services}\n"
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
    empty = AwsStack(folder / "empty", "bench", account.environ, account=account)
    empty.make()
    (empty.folder / "__main__.py").write_text(_EMPTY.format(services=", ".join(_services())))
    empty.pulumi("up", "--yes", "--skip-preview")
    print(f"{rounds} rounds; medians in s\n{'':10} {'empty':>7} {'kit':>7} {'ratio':>7}")
    for label, command in _COMMANDS.items():
        times: dict[str, list[float]] = {"empty": [], "kit": []}
        for _ in range(rounds):
            for name, each in (("empty", empty), ("kit", stack)):
                times[name].append(_seconds(lambda each=each, command=command: _unchanged(each, command)))
        base, kit = (statistics.median(times[name]) for name in ("empty", "kit"))
        print(f"{label:10} {base:7.2f} {kit:7.2f} {kit / base:7.2f}")
    stack.pulumi("state", "unprotect", "--all", "--yes")
    stack.entries.clear()
    print(f"down of the endpoint         {_seconds(stack.up):6.2f} s")


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
