"""The preparation image's command.

python -m llmops_kit.data_pipeline RECIPE COLLECTED TARGET --root FOLDER --work FOLDER
                                  [--ner FOLDER] [--workers N] [--ray ADDRESS]

Prints a line for each step, then the version's identity; errors have the form of llmops_kit.core.programs.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import KitError, require_packages
from llmops_kit.core.garbage import collect_garbage_rarely
from llmops_kit.core.programs import tell_error
from llmops_kit.data_pipeline.examine import load_tokenizer
from llmops_kit.data_pipeline.prepare import prepare
from llmops_kit.data_pipeline.reading import name_of
from llmops_kit.data_pipeline.workers import begin_loading
from llmops_kit.training.process import die_with_parent

# No usage data, and no progress bars: the caller reads the output line by line.
_ENVIRONMENT = {
    "DAFT_ANALYTICS_ENABLED": "0",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DAFT_PROGRESS_BAR": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def main(arguments: list[str] | None = None) -> int:
    """Prepares a recipe's data.

    Returns:
        The exit code: 0, or 1 after a line with the error.
    """
    parser = argparse.ArgumentParser(prog="python -m llmops_kit.data_pipeline", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("collected", type=Path, help="the folder that `llmops data collect` filled")
    parser.add_argument("target", type=Path, help="the dataset version's folder, which must not exist")
    parser.add_argument("--root", type=Path, required=True, help="what the recipe's paths are relative to")
    parser.add_argument("--work", type=Path, required=True, help="keeps finished stages")
    parser.add_argument("--ner", type=Path, help="the model version that the recipe's `ner` names, which was checked")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes")
    parser.add_argument("--ray", default="", metavar="ADDRESS", help="a Ray cluster; else this machine")
    options = parser.parse_args(arguments)
    die_with_parent()
    os.environ |= _ENVIRONMENT
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries goes to stderr
    try:
        require_packages("preparation", "daft", *(["ray"] if options.ray else []))
        print(_prepare(options, lambda line: print(line, file=lines)), file=lines)
    except KitError as e:
        tell_error(e)
        return 1
    return 0


def _prepare(options: argparse.Namespace, say: Callable[[str], None]) -> str:
    collect_garbage_rarely()
    if options.workers > 1 and not options.ray:
        begin_loading()
    from llmops_kit.data_pipeline.daft_engine import OnDaft, start

    recipe = Recipe.load(options.recipe)
    wanted = recipe.data.prepare
    tokenizer = options.root / wanted.tokenizer if wanted.tokenizer else None
    if tokenizer:
        load_tokenizer(tokenizer)  # fails before rows are read
    if wanted.ner:
        from llmops_kit.data_pipeline.named_entities import actions_of, read_config

        actions_of(read_config(options.ner, wanted.ner), wanted.ner)
    start(options.ray)
    engine = OnDaft(
        recipe.data,
        options.collected,
        lambda file: name_of(file, options.root),
        work=options.work,
        workers=options.workers,
        ray=bool(options.ray),
        tokenizer=tokenizer,
        ner=options.ner,
        say=say,
    )
    sha256 = prepare(
        recipe,
        options.root,
        options.collected,
        options.target,
        engine=engine,
        ner=options.ner,
        say=say,
    )
    engine.forget_others()
    return sha256


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Daft's and Ray's threads end with the process; waiting for them takes seconds
