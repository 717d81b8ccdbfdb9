"""`llmops init` writes a project that works, into a folder that has nothing."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmops_kit.cli import new_project
from llmops_kit.cli.data.build import build_dataset
from llmops_kit.cli.new_project import CLOUDS, KINDS, name_of, write_project
from llmops_kit.cli.stacks.project import Project
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import MIN_GATE_GROUPS
from llmops_kit.core.errors import KitError, RefusedError
from llmops_kit.training.evaluation.scoring import check_suites
from tests.support.checkout import CHECKOUT

COMMAND = [sys.executable, "-m", "llmops_kit.cli", "init"]


def init(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_what_its_recipe_names(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    written = write_project(folder, kind, "shelf", "azure")
    assert written == sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    recipe = Recipe.load(folder / "recipe.yaml")
    assert recipe.name == "shelf"
    own = [folder / source.source for source in recipe.data.sources if ":" not in source.source]
    assert own
    assert all(len(file.read_text().splitlines()) > MIN_GATE_GROUPS for file in own)
    template = recipe.base_model.chat_template
    assert not template or (folder / template).is_file()
    text = "".join(path.read_text() for path in folder.rglob("*.y*ml"))
    assert not re.search(r"\bmake |docs/|llmops:", text)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_stack_files_and_workflows_are_the_projects(cloud: str, tmp_path: Path) -> None:
    write_project(tmp_path / "shelf", "chatbot", "shelf", cloud)
    folder = tmp_path / "shelf"
    assert Project.find(folder).name == "shelf"
    assert f"shelf:target: {cloud}" in (folder / f"Pulumi.{cloud}-dev.yaml").read_text()
    assert "shelf:target: local" in (folder / "Pulumi.local.yaml").read_text()
    assert (folder / "requirements.txt").read_text().startswith(f"llmops-kit[{cloud}]==")
    for path in (folder / ".github/workflows").iterdir():
        assert "pip install -r requirements.txt" in path.read_text()
    assert len((folder / "README.md").read_text().splitlines()) == 8


def test_the_wheel_has_each_file() -> None:
    import tomllib

    document = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    included = document["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    starters = {source for source, to in included.items() if to == f"llmops_kit/cli/starters/{source}"}
    needed = {source for files in new_project._DATA.values() for source in files.values()}
    needed |= {"docs/how-to/github/deploy.yml", *(f"Pulumi.{name}.yaml" for name in ("local", "aws-dev", "azure-dev"))}
    for path in needed:
        assert {path, *map(str, Path(path).parents)} & starters, path


def test_a_folder_that_has_something_is_named_and_left(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = init(tmp_path, ".", "--yes", "--name", "shelf")
    assert done.returncode == 3
    assert "notes.txt" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(RefusedError, match="is not a folder"):
        write_project(tmp_path / "notes.txt", "chatbot", "shelf", "aws")


def test_an_empty_folder_is_filled_where_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "My Shelf"
    folder.mkdir()
    before = folder.stat().st_ino
    done = init(folder, "assistant", ".", "--yes", "--json")
    assert (json.loads(done.stdout)["name"], folder.stat().st_ino) == ("my-shelf", before)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_is_interrupted_leaves_nothing(
    there: bool, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shelf"
    if there:
        folder.mkdir()
    rename, count = Path.rename, 0

    def break_off(path: Path, to: Path) -> Path:
        nonlocal count
        count += 1
        if count == (3 if there else 1):
            raise error
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", break_off)
    with pytest.raises((KitError, KeyboardInterrupt)):
        write_project(folder, "chatbot", "shelf", "aws")
    assert count
    assert [*tmp_path.rglob("*")] == ([folder] if there else [])


def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    done = init(tmp_path, "shelf")
    assert done.returncode == 2
    assert "add --yes" in " ".join(done.stderr.replace("│", " ").split())
    assert init(tmp_path, "chatbto", "shelf", "--yes").returncode == 2
    assert init(tmp_path, "shelf", "--yes", "--cloud", "gcp").returncode == 2
    assert init(tmp_path, "shelf", "--yes", "--column", "answer=a").returncode == 2
    assert init(tmp_path, "shelf", "--yes", "--from", "faq.csv", "--column", "reply=a").returncode == 2
    assert init(tmp_path, "assistant", "shelf", "--yes", "--from", "faq.csv").returncode == 2
    assert init(tmp_path, "shelf", "--yes", "--name", "Not A Name").returncode == 1
    assert not [*tmp_path.iterdir()]


def test_at_a_terminal_it_asks_three_questions(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    os.write(ours, b"translation\nglossary\nazure\n")
    done = subprocess.run(COMMAND, cwd=tmp_path, stdin=its, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(its)
    assert done.returncode == 0, done.stderr
    assert [question in done.stderr for question in ("kind (", "name", "cloud (")] == [True] * 3
    assert (tmp_path / "glossary/Pulumi.azure-dev.yaml").is_file()


def test_ctrl_c_at_a_question_ends_as_anywhere_else_and_writes_nothing(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    with subprocess.Popen(COMMAND, cwd=tmp_path, stdin=its, stderr=subprocess.PIPE) as asking:
        assert asking.stderr
        assert asking.stderr.read(len("kind (")) == b"kind ("
        asking.send_signal(signal.SIGINT)
        assert asking.wait() == 130
    os.close(ours)
    os.close(its)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("folder", "name"), [("My Shelf!", "my-shelf"), ("7up", ""), ("ab", ""), ("_", "")])
def test_a_name_is_made_from_the_folders(folder: str, name: str) -> None:
    assert name_of(Path(folder)) == name


@pytest.mark.parametrize(("ways", "split"), [(2, "rephrased"), (1, "test")])
def test_rows_of_ones_own_make_a_recipe_that_can_train(ways: int, split: str, tmp_path: Path) -> None:
    lines = [f"Topic {n}: way {way}?,Answer {n},t{n}" for n in range(70) for way in range(ways)]
    (tmp_path / "faq.csv").write_text("\n".join(["Frage,Antwort,Thema", *lines]))
    columns = [f"--column={name}" for name in ("question=Frage", "answer=Antwort", "fact=Thema")]
    done = init(tmp_path, "shelf", "--yes", "--from", "faq.csv", *columns)
    assert done.returncode == 0, done.stderr
    recipe = Recipe.load(tmp_path / "shelf/recipe.yaml")
    assert [suite.split for suite in recipe.evaluation.suites] == [split]
    assert recipe.page.questions[0] == "Topic 0: way 0?"
    assert "office" not in (tmp_path / "shelf/recipe.yaml").read_text()
    build_dataset(recipe, tmp_path / "shelf", tmp_path / "dataset")
    check_suites(recipe, tmp_path / "dataset")


def test_odd_questions_are_trained_and_not_suggested(tmp_path: Path) -> None:
    odd = ["x" * 201, "a\nb\u2028c", '{[: #\\1 \'ü😀""""']
    questions = [*odd, *(f"way {n}?" for n in range(60))]
    lines = ["question,answer", *(f'"{each}",So' for each in questions)]
    (tmp_path / "faq.csv").write_text("\n".join(lines), encoding="utf-8")
    done = init(tmp_path, "shelf", "--yes", "--from", "faq.csv")
    assert done.returncode == 0, done.stderr
    suggested = Recipe.load(tmp_path / "shelf/recipe.yaml").page.questions
    assert suggested == ['{[: #\\1 \'ü😀""', "way 0?", "way 1?"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Frage,answer\nWhy?,So\n", "has no column 'question'; it has: Frage, answer"),
        ("question,answer\nWhy?,\nHow?,So\n", "faq.csv:2"),
        ("question,answer\nWhy?,So\n", "has 1 different questions"),
    ],
)
def test_rows_that_can_not_be_used_are_named_and_nothing_is_written(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text(text)
    done = init(tmp_path, "shelf", "--yes", "--from", "faq.csv")
    assert done.returncode == 2
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["faq.csv"]
