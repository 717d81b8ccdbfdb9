"""What `llmops --help` prints: everyday commands first, in lines that fit a terminal of 80 columns."""

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
        "serve": "Serve a model on this machine, without a stack.",
    },
    "Set-up and clouds": {
        "doctor": "Check this machine, and show how to install missing parts.",
        "twin": "Run AWS or Azure as a local emulator.",
        "rehearse": "Run the full lifecycle on a twin, at no cost.",
        "smoke": "Run the full lifecycle on your own account, for a few dollars.",
        "bootstrap": "Prepare an account: state, secrets, CI roles.",
        "images": "Build and push the images of runs and endpoints.",
    },
}
"""Group -> command -> a sentence. Hidden commands are not among them."""

_HEAD = """\
Usage: llmops [OPTIONS] COMMAND [ARGS]...

Train, check, sign, deploy and roll back your own language model.
"""
_OPTIONS = """\
Options:
  -s, --stack NAME  Stack to use, also after the command. Default: PULUMI_STACK,
                    else the only stack file, else Pulumi's selection.
  --cwd FOLDER      Run as if started in this folder.
  --version, --install-completion, -h, --help (also of each command), --json"""


def render() -> str:
    """Returns the page."""
    parts = [_HEAD]
    for title, commands in GROUPS.items():
        parts.append(f"{title}:\n" + "".join(f"  {name:<10} {words}\n" for name, words in commands.items()))
    return "\n".join([*parts, _OPTIONS])
