"""`python -m llmops_kit.training answer`: a model's greedy answers to suites of a dataset version, each suite saved
once it is done.

Used to compare versions: it trains nothing, and reads no manifest but the dataset's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from llmops_kit.core.documents.recipe_evaluation import Suite
from llmops_kit.core.errors import KitError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.training import checkpoints
from llmops_kit.training.evaluation.scoring import load_suite
from llmops_kit.training.models.comet_checkpoint import is_comet
from llmops_kit.training.models.importing import find_source
from llmops_kit.training.process import say


def answer_suites(
    model: Path,
    dataset: Path,
    out: Path,
    suites: Sequence[Suite],
    system_prompt: str,
    precision: Literal["auto", "bf16", "f32"],
) -> None:
    """Answers every suite's rows in the order of the dataset, each suite into a sealed file: a list of `Answer`.

    Args:
        model: a folder in Hugging Face's layout, such as a model version.
        dataset: a dataset version.
        out: folder of the answers; a suite whose file is complete is not answered again.
        system_prompt: prepended to rows without a system message.
        precision: as a recipe's `training.precision`.

    Raises:
        KitError: the folder is not a model that may be loaded, or lacks tensors.
    """
    _check_model(model)
    from llmops_kit.training.devices import best_device, precision_on, torch_dtype
    from llmops_kit.training.evaluation.evaluate import recorded, run_suite
    from llmops_kit.training.models.weights import load_model, load_tokenizer, stop_tokens
    from llmops_kit.training.process import set_threads

    set_threads(0)
    device = best_device()
    chosen = precision_on(device, precision)
    say(stage="load", model=model.name, precision=chosen)
    loaded = load_model(model, torch_dtype(chosen)).to(device)
    tokenizer, stop = load_tokenizer(model), stop_tokens(model)
    for suite in suites:
        rows = [asked.row for asked in load_suite(suite, dataset)]
        say(stage="answer", suite=suite.name, of=len(rows))

        def answer(suite: Suite = suite, rows: list = rows) -> list[str | dict[str, Any]]:
            return [recorded(each) for each in run_suite(loaded, tokenizer, suite, rows, system_prompt, stop)]

        checkpoints.once(answer_file(out, suite), answer)


def answer_file(folder: Path, suite: Suite) -> Path:
    """Returns the file of a suite's answers. It depends on the suite's definition, but not on its judge."""
    return folder / f"{suite.name}-{sha256_bytes(suite.model_dump_json(exclude={'judge', 'comet'}).encode())[:16]}.json"


def _check_model(folder: Path) -> None:
    """Refuses folders that could execute code when loaded, and adapters, which reference their base model by a path or
    a hub.
    """
    if not folder.is_dir() or find_source(folder) != folder:
        raise KitError("is not a Hugging Face folder", where=str(folder), fix="give a folder with config.json")
    if is_comet(folder):
        raise KitError("scores translations and answers nothing", where=str(folder), fix="give a model that answers")
    if (folder / "adapter_config.json").exists():
        raise KitError(
            "holds an adapter, which can only answer together with its base model",
            where=str(folder / "adapter_config.json"),
            fix="give a folder of merged weights",
        )
