"""`python -m tools.demo up|down`: the whole way on this machine, made of the commands that a user would type.

Each step is safe to repeat, so a demo that was interrupted goes on where it stopped.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
STACK = "demo"
STACK_FILE = CHECKOUT / f"Pulumi.{STACK}.yaml"
RECIPE = "recipes/chatbot.yaml"
PAGE = ".llmops/demo-run.html"
QUESTION = "The new version is worse. How do I get the previous version back?"
STEPS: list[tuple[str, list[str]]] = [
    ("stack with store and keys", ["up"]),
    ("data report", ["data", "build", RECIPE]),
    ("prepare, train, evaluate, sign", ["train", RECIPE]),
    ("report", ["runs", "page", "latest", "--out", PAGE]),
    ("promote", ["promote", "chatbot@latest"]),
    ("deploy", ["up"]),
    ("ask", ["invoke", "chatbot", QUESTION]),
]


def main() -> int:
    """Run the demo, or take it down; the exit code says whether it worked."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    if command == "up":
        return up()
    if command == "down" and not STACK_FILE.exists():
        print("there is no demo to take down")
        return 0
    if command == "down":
        return _llmops(["down"])
    print("usage: python -m tools.demo up|down", file=sys.stderr)
    return 2


def up() -> int:
    """From nothing to an answered question; a table of the steps' times at the end."""
    if not STACK_FILE.exists():
        STACK_FILE.write_text(f"config:\n  {_project()}:target: local\n")
    times: list[tuple[str, float]] = []
    for number, (title, arguments) in enumerate(STEPS, 1):
        print(
            f"\n[{number}/{len(STEPS)}] {title}\n$ llmops --stack {STACK} {' '.join(map(_quoted, arguments))}",
            flush=True,
        )
        start = time.monotonic()
        code = _llmops(arguments)
        times.append((title, time.monotonic() - start))
        if code:
            print(f"\nThe demo stopped at `{title}`. Run `make demo` again: it goes on from here.", file=sys.stderr)
            return code
    _summary(times)
    return 0


def _llmops(arguments: list[str]) -> int:
    process = subprocess.Popen([*_command(), *arguments], cwd=CHECKOUT)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The terminal has sent the command the same signal: let it clean up and say what it leaves.
        return process.wait() or 130


def _command() -> list[str]:
    return [sys.executable, "-m", "llmops", "--stack", STACK]


def _summary(times: list[tuple[str, float]]) -> None:
    status = subprocess.run([*_command(), "status", "--json"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    endpoint = next(e for e in json.loads(status.stdout)["endpoints"] if e["name"] == "chatbot")
    key = Path(endpoint["key"]).read_text().strip()
    print("\nTime of each step")
    for title, seconds in [*times, ("altogether", sum(s for _, s in times))]:
        print(f"  {title:<32}{seconds:7.1f} s")
    print(
        f"\nThe endpoint runs: {endpoint['url']}/v1   key: {key}\n"
        f"Chat page:         {endpoint['url']}/#key={key}\n"
        f"Run page:          {CHECKOUT / PAGE}\n"
        f"Data page:         {_newest('.llmops/datasets/chatbot-*.html')}\n"
        f"\nTry next, after `. .venv/bin/activate; export PULUMI_STACK={STACK}`:\n"
        "  llmops chat                          talk to it here\n"
        "  llmops models show chatbot@latest    what it was made of, and its scores\n"
        f"  pulumi preview                       nothing to change; edit {STACK_FILE.name} and look again\n"
        "\n`make demo-down` takes the endpoint down and keeps the models."
    )


def _newest(pattern: str) -> Path:
    return max(CHECKOUT.glob(pattern), key=lambda path: path.stat().st_mtime)


def _project() -> str:
    lines = (CHECKOUT / "Pulumi.yaml").read_text().splitlines()
    return next(line.removeprefix("name:").strip() for line in lines if line.startswith("name:"))


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
