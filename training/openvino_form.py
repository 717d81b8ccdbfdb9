"""The form that a CPU serves: OpenVINO's intermediate representation, token ids in, logits out."""

import logging
import tempfile
from pathlib import Path

FOLDER = "openvino"
_KEEP = ("openvino_model.xml", "openvino_model.bin", "config.json", "generation_config.json")


def export_openvino(folder: Path) -> None:
    """Convert a version's safetensors into `openvino/` beside them; weights stay bf16.

    Raises:
        KitError: the architecture has no conversion.
    """
    import torch

    from contract.errors import KitError
    from training.weights import load_model

    logging.getLogger("optimum").setLevel(logging.ERROR)
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.intel.openvino.configuration import OVConfig

    model = load_model(folder, torch.bfloat16)
    # Inside of the folder: of what is around it, a job may write nothing.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".openvino-") as work:
        try:
            export_from_model(
                model,
                work,
                task="text-generation-with-past",
                # Without a dtype, optimum would compress larger models to int8.
                ov_config=OVConfig(dtype="fp32"),
                patch_16bit_model=True,
            )
        except (ValueError, NotImplementedError) as e:
            raise KitError(
                f"OpenVINO has no form of {model.config.model_type}: {e}",
                where=str(folder),
                fix="take a model of an architecture that optimum-intel converts, such as Llama or Qwen",
            ) from e
        target = folder / FOLDER
        target.mkdir()
        for name in _KEEP:
            source = Path(work, name)
            if source.exists():
                source.rename(target / name)
                (target / name).chmod(0o644)
