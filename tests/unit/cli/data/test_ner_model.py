"""A version for token classification finds personal data, and does nothing else; others don't."""

from pathlib import Path

import pytest

from llmops_kit.cli.data.build import ner_folder
from llmops_kit.cli.deploying.promotion import promote
from llmops_kit.cli.evaluation.models import find_model
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.layout import MANIFEST
from tests.support.tiny_models.versions import write_version


def test_a_model_that_labels_tokens_is_verified_and_takes_no_traffic(platform: LocalPlatform, tmp_path: Path) -> None:
    store = platform.store()
    write_version(tmp_path / "text", "chatbot", "w", True, "")
    store.put_model(tmp_path / "text", platform.sign)
    write_version(tmp_path / "labels", "pii-model", "w", None, "")
    manifest = ModelManifest.load(tmp_path / "labels" / MANIFEST)
    ModelManifest.new(
        **{**manifest.model_dump(exclude={"schema_", "golden"}), "task": "token-classification", "golden": []}
    ).write(tmp_path / "labels" / MANIFEST)
    ref = store.put_model(tmp_path / "labels", platform.sign)

    assert ner_folder(platform, "pii-model@1", lambda _: None) == store.model_folder(ref.sha256)
    with pytest.raises(KitError, match="is a model for text-generation, not for token-classification"):
        ner_folder(platform, "chatbot@1", lambda _: None)
    with pytest.raises(KitError, match="is a model for token-classification, not for text-generation"):
        find_model(platform, "pii-model@1", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local\n")
    with pytest.raises(KitError, match="is a model for token-classification, not for text-generation"):
        promote(platform, StackFile(tmp_path / "Pulumi.dev.yaml"), "pii-model@1", reason="no matter")
    weights = store.model_folder(ref.sha256) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_text("changed")
    with pytest.raises(IntegrityError):
        ner_folder(platform, "pii-model@1", lambda _: None)
