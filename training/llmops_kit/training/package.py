"""Package: turns the trained weights into a version, in the forms that servers load."""

from collections.abc import Callable
from pathlib import Path

from llmops_kit.core.documents.training_metrics import metrics_text, parse_metrics
from llmops_kit.core.layout import METRICS
from llmops_kit.training.checkpoint_folders import cleared
from llmops_kit.training.models.merge import is_adapter, merge, replace_weights, take_weights
from llmops_kit.training.models.openvino_form import export_openvino, is_wanted
from llmops_kit.training.process import say


def package(base: Path, trained: Path, target: Path, openvino: bool | None) -> None:
    """Writes safetensors, tokenizer, OpenVINO's form if wanted, the metrics of the training and, if there is one, the
    adapter.

    Args:
        base: the base model's version.
        trained: the result of `finetune`.
        target: emptied first; the folder itself stays, as a platform may have mounted it.
        openvino: whether the form is wanted; None: by the model's size.
    """
    _package(merge if is_adapter(trained) else replace_weights, base, trained, target, openvino)


def package_trained(base: Path, trained: Path, target: Path, openvino: bool | None) -> None:
    """Packages the result of another trainer that `check_trained` passed, in the same way."""
    _package(take_weights, base, trained, target, openvino)


def _package(
    write: Callable[[Path, Path, Path], None], base: Path, trained: Path, target: Path, openvino: bool | None
) -> None:
    cleared(target)
    say(package="weights")
    write(base, trained, target)
    if (measured := trained / METRICS).is_file():  # other trainers may keep none
        (target / METRICS).write_text(metrics_text(parse_metrics(measured.read_bytes(), str(measured))))
    if is_wanted(openvino, target):
        say(package="openvino")
        export_openvino(target)
