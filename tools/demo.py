"""`python -m tools.demo up|down [RECIPE]`: the full lifecycle on this machine, by the commands that a user would type.

Each recipe's demo has its own stack, so several can run at the same time. Each step is safe to repeat, so an
interrupted demo resumes where it stopped. The commands' output goes into a log; the answer is shown too.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.cli.terminal.progress import describe
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import KitError, NotFoundError
from tools.setup import HINT
from tools.steps import Step, StepFailedError, Steps

CHECKOUT = Path(__file__).resolve().parents[1]
RECIPES = CHECKOUT / "recipes"
DEFAULT = "chatbot"
BEGAN_VARIABLE = "LLMOPS_DEMO_BEGAN"
"""When `make demo` was started, in seconds since the epoch."""


@dataclass(frozen=True)
class RecipeDemo:
    """The demo of a recipe: its model, its question and its stack."""

    recipe: str
    """Its file's name, without `.yaml`."""
    model: str
    question: str
    tools: bool = False
    """Whether the recipe's chat page offers tools, which the question then includes."""

    @property
    def stack(self) -> str:
        """The stack's name; the default recipe's is plain `demo`."""
        return "demo" if self.recipe == DEFAULT else f"demo-{self.recipe}"

    @property
    def stack_file(self) -> Path:
        return CHECKOUT / f"Pulumi.{self.stack}.yaml"

    @property
    def page(self) -> str:
        """The run page's path in the checkout."""
        return f".llmops/{self.stack}-run.html"

    @property
    def log(self) -> str:
        """The path of the commands' output in the checkout."""
        return f".llmops/{self.stack}.log"

    @property
    def make(self) -> str:
        """Arguments after `make demo` on its command line."""
        return "" if self.recipe == DEFAULT else f" RECIPE={self.recipe}"

    @property
    def steps(self) -> list[tuple[str, list[str]]]:
        """Title and command of each step."""
        file = f"recipes/{self.recipe}.yaml"
        return [
            ("stack with store and keys", ["up"]),
            ("data report", ["data", "build", file]),
            ("prepare, train, evaluate, sign", ["train", file]),
            ("report", ["runs", "page", "latest", "--out", self.page]),
            ("promote", ["promote", f"{self.model}@latest"]),
            ("deploy", ["up"]),
            ("ask", ["invoke", self.model, self.question, *(["--tools", file] if self.tools else [])]),
        ]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "llmops_kit.cli", "--stack", self.stack]


def main(arguments: list[str]) -> int:
    """Runs a recipe's demo, or takes it down; returns the exit code."""
    if len(arguments) not in (1, 2) or arguments[0] not in ("up", "down"):
        print("usage: python -m tools.demo up|down [RECIPE]", file=sys.stderr)
        return 2
    try:
        demo = find_demo(*arguments[1:])
    except KitError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    if arguments[0] == "up":
        return up(demo)
    if not demo.stack_file.exists():
        print("there is no demo to take down")
        return 0
    process = subprocess.Popen([*demo.command, "down"], cwd=CHECKOUT)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The terminal has sent the command the same signal: wait while it cleans up and reports.
        return process.wait() or 130


def find_demo(name: str = DEFAULT) -> RecipeDemo:
    """Returns the demo of `recipes/NAME.yaml`, which asks the first question of the recipe's chat page.

    Raises:
        NotFoundError: there is no such recipe, or it has no question; with the names of those that have one.
        DocumentError: the recipe is not valid.
    """
    files = {each.stem: each for each in sorted(RECIPES.glob("*.yaml"))}
    if name in files:
        recipe = Recipe.load(files[name])
        if recipe.page.questions:
            return RecipeDemo(name, recipe.name, recipe.page.questions[0], bool(recipe.page.tools))
    names = [each for each, file in files.items() if Recipe.load(file).page.questions]
    what = "has no page.questions to ask" if name in files else "does not exist"
    raise NotFoundError(what, where=f"recipes/{name}.yaml", fix=f"make demo RECIPE=NAME with one of {', '.join(names)}")


def up(demo: RecipeDemo) -> int:
    """Runs all steps to an answered question, and shows each one's time; returns the exit code."""
    began = float(os.environ.get(BEGAN_VARIABLE) or time.time())
    if not demo.stack_file.exists():
        demo.stack_file.write_text(f"config:\n  {_project()}:target: local\n")
    steps = Steps(CHECKOUT / demo.log, CHECKOUT)
    for title, arguments in demo.steps:
        typed = f"$ llmops --stack {demo.stack} {' '.join(map(_quoted, arguments))}"
        steps.log_line(typed)
        try:
            (said,) = steps.run(Step(title, [*demo.command, *arguments], detail=describe))
        except (StepFailedError, KeyboardInterrupt) as e:
            again = f"Run `make demo{demo.make}` again: it resumes here."
            print(f"{e}\nThe demo stopped at `{title}`. {again}".lstrip(), file=sys.stderr)
            return e.code if isinstance(e, StepFailedError) else 130
        if arguments[0] == "invoke":
            steps.note(f"\n{typed}\n{said}\n")
    steps.finished("total", time.time() - began)
    _summary(demo)
    if HINT.exists() and (hint := HINT.read_text()):
        print(f"\n{hint}")
    HINT.unlink(missing_ok=True)
    return 0


def _summary(demo: RecipeDemo) -> None:
    command = [*demo.command, "status", "--json"]
    status = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    endpoint = next(e for e in json.loads(status.stdout)["endpoints"] if e["name"] == demo.model)
    key = Path(endpoint["key"]).read_text().strip()
    print(
        f"\nThe endpoint runs: {endpoint['url']}/v1   key: {key}\n"
        f"Chat page:         {endpoint['url']}/#key={key}\n"
        f"Run page:          {CHECKOUT / demo.page}\n"
        f"Data page:         {_newest(f'.llmops/datasets/{demo.model}-*.html')}\n"
        f"Log:               {CHECKOUT / demo.log}\n"
        f"\nTry next, after `. .venv/bin/activate; export PULUMI_STACK={demo.stack}`:\n"
        "  llmops chat                          talk to it here\n"
        f"  {f'llmops models show {demo.model}@latest':<35}  what it was made of, and its scores\n"
        f"  pulumi preview                       nothing to change; edit {demo.stack_file.name} and look again\n"
        f"\n`make demo-down{demo.make}` takes the endpoint down and keeps the models."
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
    sys.exit(main(sys.argv[1:]))
