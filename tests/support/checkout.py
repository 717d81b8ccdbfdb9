"""Folders of this checkout."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "tests/unit/core/examples"
"""One document of each kind and released version."""
PORTIONS = tuple(CHECKOUT / name for name in ("hosting", "src", "infra", "training", "serving", "twins"))
"""What import paths need: folders with a portion of the namespace llmops_kit, and that with llmops_twins."""
PACKAGES = {
    "llmops_kit.core": CHECKOUT / "hosting/llmops_kit/core",
    "llmops_kit.clouds": CHECKOUT / "src/llmops_kit/clouds",
    "llmops_kit.settings": CHECKOUT / "src/llmops_kit/settings",
    "llmops_kit.policies": CHECKOUT / "src/llmops_kit/policies",
    "llmops_kit.infra": CHECKOUT / "infra/llmops_kit/infra",
    "llmops_kit.data_pipeline": CHECKOUT / "src/llmops_kit/data_pipeline",
    "llmops_kit.training": CHECKOUT / "training/llmops_kit/training",
    "llmops_kit.serving": CHECKOUT / "serving/llmops_kit/serving",
    "llmops_kit.local_runtime": CHECKOUT / "hosting/llmops_kit/local_runtime",
    "llmops_twins": CHECKOUT / "twins/llmops_twins",
    "llmops_kit.cli": CHECKOUT / "src/llmops_kit/cli",
}
"""Name -> folder."""
IMPORT_PATH = os.pathsep.join(map(str, (CHECKOUT, *PORTIONS)))
"""PYTHONPATH of processes in other environments than this checkout's."""
