"""The preparation image's command.

python -m preparation RECIPE COLLECTED TARGET --root FOLDER --work FOLDER [--workers N] [--ray ADDRESS]

Prints lines of JSON: {"say": "…"} for each step, then {"sha256": "…"}, or {"error": "KIND", "what": …, "where": …,
"fix": …} with exit code 1.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from contract.documents.recipe import Recipe
from contract.errors import KitError, require_packages
from preparation.examine import load_tokenizer
from preparation.prepare import prepare
from preparation.reading import name_of
from training.process import die_with_parent

# No usage data is sent, and nothing draws on the terminal: the caller reads these lines.
_ENVIRONMENT = {
    "DAFT_ANALYTICS_ENABLED": "0",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def main(arguments: list[str] | None = None) -> int:
    """Prepare a recipe's data.

    Returns:
        The exit code: 0, or 1 after a line that tells the error.
    """
    parser = argparse.ArgumentParser(prog="python -m preparation", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("collected", type=Path, help="the folder that `llmops data collect` filled")
    parser.add_argument("target", type=Path, help="the dataset version's folder, which must not exist")
    parser.add_argument("--root", type=Path, required=True, help="what the recipe's paths are relative to")
    parser.add_argument("--work", type=Path, required=True, help="keeps finished stages")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--ray", default="", metavar="ADDRESS", help="a Ray cluster; else this machine")
    options = parser.parse_args(arguments)
    die_with_parent()
    os.environ |= _ENVIRONMENT
    try:
        require_packages("preparation", "daft", *(["ray"] if options.ray else []))
        sha256 = _prepare(options)
    except KitError as e:
        _tell(error=type(e).__name__, what=e.what, where=e.where, fix=e.fix)
        return 1
    _tell(sha256=sha256)
    return 0


def _prepare(options: argparse.Namespace) -> str:
    from preparation.daft_engine import OnDaft, start

    recipe = Recipe.load(options.recipe)
    wanted = recipe.data.prepare
    tokenizer = options.root / wanted.tokenizer if wanted.tokenizer else None
    if tokenizer:
        load_tokenizer(tokenizer)  # before rows are read
    start(options.ray)
    engine = OnDaft(
        recipe.data,
        options.collected,
        lambda file: name_of(file, options.root),
        work=options.work,
        workers=options.workers,
        tokenizer=tokenizer,
        say=lambda line: _tell(say=line),
    )
    sha256 = prepare(
        recipe,
        options.root,
        options.collected,
        options.target,
        engine=engine,
        say=lambda line: _tell(say=line),
    )
    engine.forget_others()
    return sha256


def _tell(**fields: str) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Daft's and Ray's threads end with the process; waiting for them takes seconds
