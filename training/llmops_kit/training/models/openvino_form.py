"""The form served by a CPU: OpenVINO's intermediate representation, token ids in, logits out. Models that label tokens
have it too: data preparation runs them in this form.

The converter, optimum-intel, requires an older transformers, so it runs in its own environment
(requirements/export.txt), which the image names by EXPORT_VARIABLE, as
`python -m llmops_kit.training.models.openvino_form FOLDER`.
"""

import json
import logging
import os
import sys
import tempfile
from pathlib import Path

from llmops_kit.core.errors import KitError, RunError
from llmops_kit.core.layout import EXPORT_VARIABLE
from llmops_kit.core.models.base_models import ARCHITECTURES
from llmops_kit.core.programs import run_program, tell_error
from llmops_kit.training.models.weights import count_parameters
from llmops_kit.training.process import die_with_parent, forget_other_launchers, hide, prepare_process, say

FOLDER = "openvino"
MOST_PARAMETERS = 2_000_000_000
"""Largest version that gets the form by default: larger ones are meant for GPUs."""
_KEEP = ("openvino_model.xml", "openvino_model.bin", "config.json", "generation_config.json")


def is_wanted(asked: bool | None, folder: Path) -> bool:
    """Returns whether a version gets the form.

    Args:
        asked: by recipe or command line; None: by the model's size, and whether its architecture has the form.
        folder: the version's safetensors and config.json.
    """
    if asked is not None:
        return asked
    known = ARCHITECTURES.get(json.loads((folder / "config.json").read_text()).get("model_type", ""))
    if known and known.openvino:
        say(notice=f"no form for CPUs: {known.openvino}")
        return False
    return count_parameters(folder) < MOST_PARAMETERS


def export_openvino(folder: Path) -> None:
    """Converts a version's safetensors into `openvino/` beside them; weights stay bf16. Equal weights give equal bytes.

    Raises:
        KitError: the architecture has no conversion, or the environment is missing.
    """
    if not (python := os.environ.get(EXPORT_VARIABLE)):
        raise RunError(
            "is not set, so there is no converter to OpenVINO's form",
            where=EXPORT_VARIABLE,
            fix="run the kit's training image, or name the Python of an environment made from requirements/export.txt",
        )
    run_program(
        [python, "-m", "llmops_kit.training.models.openvino_form", folder.absolute()],
        os.environ,
        lambda line: print(line, flush=True),
        what="the conversion to OpenVINO ended",
        fix="check that the machine has memory for the model twice; `openvino: false` leaves the form out",
    )


def convert(folder: Path) -> None:
    """Converts in this process, which must be the converter's environment; otherwise as `export_openvino`."""
    import torch

    from llmops_kit.training.models.embedding import load_encoder
    from llmops_kit.training.models.weights import is_token_classifier, load_model, load_token_classifier

    logging.getLogger("optimum").setLevel(logging.ERROR)
    # Not installed in the development environment, which has training's transformers.
    from optimum.exporters.openvino.convert import export_from_model  # pyright: ignore[reportMissingImports]
    from optimum.intel.openvino.configuration import OVConfig  # pyright: ignore[reportMissingImports]

    if is_token_classifier(folder):
        task, model = "token-classification", load_token_classifier(folder)
    elif _generates(folder):
        task, model = "text-generation-with-past", load_model(folder, torch.bfloat16)
    else:
        task, model = "feature-extraction", load_encoder(folder)
    # Inside the folder, because a job can't write around it.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".openvino-") as work:
        try:
            export_from_model(
                model,
                work,
                task=task,
                # Without a dtype, optimum would compress larger models to int8.
                ov_config=OVConfig(dtype="fp32"),
                patch_16bit_model=model.dtype == torch.bfloat16,
            )
        except (ValueError, NotImplementedError) as e:
            raise KitError(
                f"OpenVINO has no form of {model.config.model_type}: {e}",
                where=str(folder),
                fix="take a model of an architecture that optimum-intel converts, such as Llama or Qwen; or leave the "
                "form out by `openvino: false`, and serve the version on a GPU",
            ) from e
        target = folder / FOLDER
        target.mkdir()
        for name in _KEEP:
            source = Path(work, name)
            if source.exists():
                source.rename(target / name)
                (target / name).chmod(0o644)


def _generates(folder: Path) -> bool:
    """Returns whether the model of a checked folder has a head that generates text; otherwise it embeds."""
    kinds = json.loads((folder / "config.json").read_text()).get("architectures") or []
    return any(str(kind).endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds)


def main(folder: Path) -> int:
    """Converts in the environment that has the converter; returns the exit code."""
    die_with_parent()
    forget_other_launchers()
    prepare_process()
    hide("triton", "PIL")  # which torch and optimum import for GPUs and for images: 0.8 s of processor time
    try:
        convert(folder)
    except KitError as e:
        tell_error(e)
        return 1
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as the image's other programs do: the libraries' own clean-up takes seconds
