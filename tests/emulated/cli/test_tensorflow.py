"""A recipe that TensorFlow trains on a stack of target local: two jobs of a run, and a version like any other."""

from llmops_kit.cli.runs.runs import find_run
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.layout import MANIFEST, MODEL_CARD
from tests.emulated.cli.conftest import RECIPE, Kit


def test_a_recipe_trains_on_tensorflow_and_becomes_a_version(kit: Kit) -> None:
    recipe = RECIPE.replace("training: {", "training: {framework: tensorflow, ")
    (kit.folder / "recipe.yaml").write_text(recipe + "export: {openvino: false}\n")  # nothing serves it
    platform = kit.deploy("dev")
    said = kit.run("train", "recipe.yaml", "--stack", "dev")
    assert said.count("stage=train\n") == 1
    assert "\nstep=1 " in said
    assert said.index("\nstep=1 ") < said.index("stage=evaluate_before\n") < said.index("stage=evaluate_after\n")
    run = find_run(platform, "latest")
    assert run.spec.trainer is not None
    assert run.spec.trainer.image.startswith("process:training-tensorflow@sha256:")
    ref = platform.store().of_run("chatbot", run.spec.id)
    assert ref is not None
    version = platform.store().model_folder(ref.sha256)
    manifest = ModelManifest.load(version / MANIFEST)
    assert manifest.lineage.trainer == run.spec.trainer.image
    assert manifest.gate is not None
    assert manifest.gate.passed
    assert manifest.training is not None
    assert manifest.training.last_loss < manifest.training.first_loss
    assert "By Keras on TensorFlow. Supervised fine-tuning" in (version / MODEL_CARD).read_text()
    assert kit.json("train", "recipe.yaml", "--stack", "dev")["model"] == ref.alias  # the same run
