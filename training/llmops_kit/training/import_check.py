"""`python -m llmops_kit.training check`: checks from a model's small files whether it can be imported and trained.

Reads no weights.
"""

import json
from pathlib import Path
from typing import Any, get_args

from llmops_kit.core.documents.estimate import EstimateRequest
from llmops_kit.core.documents.model_check import AdapterFit, CheckRequest, ModelCheck
from llmops_kit.core.documents.recipe_training import Adapter, TrainingRecipe
from llmops_kit.core.errors import KitError
from llmops_kit.core.models.gpu_fit import cache_of
from llmops_kit.core.models.keras_families import check_family
from llmops_kit.training.models.importing import find_source


def check_import(folder: Path, request: CheckRequest) -> ModelCheck:
    """Returns whether a model can be imported, what its chat template supports, and the machines that can train it.

    Args:
        folder: the model's config.json, tokenizer_config.json and chat template; its other files may be empty, as only
            their names count.
        request: machines for which memory is estimated.
    """
    try:
        find_source(folder)
        return _check_model(folder, request)
    except KitError as e:
        config = _config(folder)
        return ModelCheck(
            refusal=e.what,
            where=e.where.removeprefix(f"{folder}/"),
            fix=e.fix,
            model_type=str(config.get("model_type", "")),
            architecture=_architecture(config),
        )


def _check_model(folder: Path, request: CheckRequest) -> ModelCheck:
    from llmops_kit.training.data.templates import report_of, stand_in_tokenizer
    from llmops_kit.training.torch_trainer.estimate import estimate

    config = _config(folder)
    model_type, architecture = str(config.get("model_type", "")), _architecture(config)
    if not architecture.endswith(("ForCausalLM", "LMHeadModel")):
        return ModelCheck(model_type=model_type, architecture=architecture)
    template = report_of(stand_in_tokenizer(folder))
    if template.refusal:
        raise KitError(
            template.refusal,
            where=str(folder / "chat_template.jinja"),
            fix="take an instruction-tuned model, or put a working chat_template.jinja beside its tokenizer",
        )
    fits, parameters = [], 0
    for adapter in get_args(Adapter):
        options = TrainingRecipe(adapter=adapter, max_tokens=request.max_tokens, batch_size=16)
        asked = EstimateRequest(training=options, machines=request.machines)
        answer = estimate(folder, asked, until_one_fits=True)
        parameters, last = answer.parameters, answer.machines[-1]
        fits.append(AdapterFit(adapter=adapter, machine=last if last.fits else None, reason=last.reason))
    try:
        check_family(config, "")
        tensorflow = ""
    except KitError as e:
        tensorflow = e.what
    return ModelCheck(
        model_type=model_type,
        architecture=architecture,
        parameters=parameters,
        cache=cache_of(config),
        template=template,
        tensorflow=tensorflow,
        fits=fits,
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _architecture(config: dict[str, Any]) -> str:
    return str(next(iter(config.get("architectures") or []), ""))


def answer_check(folder: Path, request: Path, target: Path) -> None:
    """Reads a request, and writes the answer as JSON."""
    asked = CheckRequest.model_validate_json(request.read_text())
    target.write_text(check_import(folder, asked).model_dump_json())
