"""What a stored version is asked in a conformance test."""

from pathlib import Path
from typing import Any

from llmops_kit.cli.data.build import build_dataset
from llmops_kit.core.documents.model import Lineage, ModelManifest
from llmops_kit.core.documents.run import Pinned
from llmops_kit.core.integrity.digest import file_entries
from llmops_kit.core.layout import MANIFEST
from tests.support.runs.training import tiny_recipe, write_rows
from tests.support.tiny_models.versions import write_version
from tests.unit.cli.conftest import make_platform
from tools.conformance.questions import QUESTIONS, STRUCTURED, TEXTS
from tools.conformance.versions import stored_version

TEMPLATES = {
    "plain": "{% for m in messages %}{{ m.content }}{% endfor %}",
    # Shows tools, and has the model call them in a form that servers don't read.
    "unread": "{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "hermes": "{{ tools }}<tool_call>{% for m in messages %}{{ m.content }}{% endfor %}",
}


def test_a_version_is_asked_what_its_template_allows_and_rows_of_its_suites(tmp_path: Path) -> None:
    platform = make_platform(tmp_path / "home", "dev")
    store, recipe = platform.store(), tiny_recipe()
    write_rows(tmp_path)
    dataset = Pinned(name=recipe.name, sha256=build_dataset(recipe, tmp_path, tmp_path / "dataset"))
    store.put_dataset(tmp_path / "dataset")
    for name, template in TEMPLATES.items():
        folder = tmp_path / name
        write_version(folder, name, name, passed=True, run="")
        (folder / "chat_template.jinja").write_text(template)
        manifest = ModelManifest.load(folder / MANIFEST)
        (folder / MANIFEST).unlink()
        changes: dict[str, Any] = {"files": file_entries(folder)}
        if name != "unread":  # as an import, which no suite ever asked
            changes |= {"lineage": Lineage(dataset=dataset), "evaluated": recipe.evaluation}
        manifest.model_copy(update=changes).write(folder / MANIFEST)
        store.put_model(folder, platform.sign)
    asked = {name: stored_version(platform, f"{name}@latest", lambda _: None) for name in TEMPLATES}
    assert {name: each.name for name, each in asked.items()} == {name: f"{name}@1" for name in TEMPLATES}
    texts = len(TEXTS) + len(STRUCTURED)
    assert {name: len(each.questions) for name, each in asked.items()} == {
        "plain": texts + 3,
        "unread": texts,
        "hermes": len(QUESTIONS) + 3,
    }
    assert asked["hermes"].questions[-1]["messages"][-1]["content"].startswith("Question ")
