"""The page of `llmops --help`: everyday commands first, on 40 lines of 80 columns."""

import shutil
import textwrap
from collections.abc import Mapping

GROUPS = {
    "Every day": {
        "up": "Deploy what Pulumi.<stack>.yaml says; create a new stack.",
        "train": "Train, evaluate, sign and store a model version from a recipe.",
        "promote": "Write a model version into Pulumi.<stack>.yaml, for `up`.",
        "rollback": "Write the previous model version into Pulumi.<stack>.yaml.",
        "plan": "Preview the next `up`: changes, rollout, duration and cost.",
        "status": "Show endpoints: configured and live version, health, address.",
        "chat": "Chat with an endpoint in the terminal.",
        "down": "Remove endpoints and processes; keep models, datasets and keys.",
    },
    "Data, runs and models": {
        "data": "Fetch a recipe's data; build and compare dataset versions.",
        "runs": "List, follow, stop and collect runs.",
        "models": "Import, inspect, verify and copy model versions.",
        "evaluate": "Compare a version with another one, production or an endpoint.",
        "export": "Write runs and versions in the formats of other tools.",
    },
    "Endpoints": {
        "invoke": "Send one question to an endpoint.",
        "logs": "Print the logs of an endpoint.",
        "keys": "Issue and revoke the API keys of callers.",
        "serve": "Serve a model on this machine, without a stack.",
    },
    "Set-up and clouds": {
        "init": "Write a project of your own: recipe, data, stacks, workflows.",
        "doctor": "Check this machine, or a repository's settings on GitHub.",
        "twin": "Run AWS or Azure as a local emulator.",
        "rehearse": "Run the full lifecycle on a twin, at no cost.",
        "smoke": "Run the full lifecycle on your own account, for a few dollars.",
        "bootstrap": "Prepare an account: state, secrets, CI roles.",
        "images": "Build and push the images of runs and endpoints.",
    },
}
"""Group -> command -> a sentence. Hidden commands are not among them."""

_USAGE = "Usage: llmops [OPTIONS] COMMAND [ARGS]..."
_PURPOSE = "Train, check, sign, deploy and roll back your own language model."
_OPTIONS = {
    "-s, --stack NAME": "Default: $PULUMI_STACK, the only stack file, or Pulumi's.",
    "--cwd FOLDER": "Run as if started in this folder.",
}
_MORE = "  --version, --install-completion, -h, --help (also of each command), --json"
_MOST_COLUMNS = 80


def render() -> str:
    """Returns the page, at most as wide as the terminal."""
    width = min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    parts = [f"{_USAGE}\n\n{textwrap.fill(_PURPOSE, width)}\n"]
    parts += [f"{title}:\n{_rows(commands, 10, width)}\n" for title, commands in GROUPS.items()]
    more = textwrap.fill(_MORE, width, subsequent_indent="  ")
    return "\n".join([*parts, f"Options:\n{_rows(_OPTIONS, 17, width)}\n{more}"])


def _rows(texts: Mapping[str, str], column: int, width: int) -> str:
    indent = " " * (column + 3)
    return "\n".join(
        textwrap.fill(f"  {name:<{column}} {text}", width, subsequent_indent=indent) for name, text in texts.items()
    )
