"""The gate's `not_worse_than: production`, from what runs recorded; and promotion without it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from llmops_kit.cli.commands.models import _copy_dataset, print_version
from llmops_kit.cli.commands.promotion import promote as command
from llmops_kit.cli.commands.stack import _endpoint_row
from llmops_kit.cli.commands.train import is_not_worse
from llmops_kit.cli.deploying.promotion import promote, rollback, waivers
from llmops_kit.cli.evaluation.answers import _folder
from llmops_kit.cli.evaluation.comparison import questions_for
from llmops_kit.cli.evaluation.models import stored_model
from llmops_kit.cli.platforms.local.platform import LocalPlatform
from llmops_kit.cli.runs.runs import plan_run
from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.core.errors import KitError, RefusedError
from llmops_kit.core.names import ModelRef
from llmops_kit.training.checkpoints import once
from llmops_kit.training.evaluation.answering import answer_file
from tests.support.tiny_models.versions import write_output
from tests.unit.cli.conftest import make_platform
from tests.unit.cli.evaluation.test_comparison import serving
from tests.unit.cli.runs.test_runs import deploy, write_recipe

Train = Callable[..., ModelRef]


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalPlatform:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    return deploy(tmp_path, "")


@pytest.fixture
def train(tmp_path: Path, platform: LocalPlatform) -> Train:
    """Make a version whose answers are all right or all wrong; of other rows with `rows`."""

    def train(right: bool = True, rows: str = "Tell me") -> ModelRef:
        recipe = write_recipe(tmp_path)
        text = recipe.read_text().replace("low: 0.5", "not_worse_than: production, margin: 0.1")
        recipe.write_text(text)
        held_out = tmp_path / "held-out.jsonl"
        held_out.write_text(held_out.read_text().replace("Tell me", rows))
        spec = plan_run(platform, recipe, lambda _: None).spec
        write_output(tmp_path / spec.id, spec, platform.store(), right=right)
        return platform.store().put_model(tmp_path / spec.id, platform.sign)

    return train


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text("config:\n  llmops:target: local\n")
    return path


def test_a_version_is_held_against_the_one_that_the_endpoint_serves(
    platform: LocalPlatform, train: Train, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    first, equal, worse, other = train(), train(), train(right=False), train(rows="Say")
    assert not promote(platform, StackFile(file), first.alias, say=said.append).waived
    assert "there is no version in production to be worse than" in said
    serving(platform, chatbot=first)
    assert not promote(platform, StackFile(file), equal.alias, say=said.append).waived
    assert said[-1] == ("new-phrasings: difference +0.00, -0.08 at its lower bound, at least -0.10 (against chatbot@1)")
    before = file.read_text()
    with pytest.raises(RefusedError, match=r"difference -1.00, -1.00 at its lower bound, less than -0.10"):
        promote(platform, StackFile(file), worse.alias)
    with pytest.raises(RefusedError, match="chatbot@1 was never asked these rows") as caught:
        promote(platform, StackFile(file), other.alias)
    assert "`llmops evaluate chatbot@4 --against chatbot@1`" in caught.value.fix
    assert file.read_text() == before

    assert [is_not_worse(platform, ref) for ref in (equal, worse, other)] == [True, False, True]
    assert "before it is promoted: `llmops evaluate chatbot@4" in capsys.readouterr().err

    # What `llmops evaluate` keeps on this machine is taken too.
    models = stored_model(platform, other), stored_model(platform, first)
    questions = questions_for(platform, models, None, None)
    (suite,) = questions.suites
    right = [asked.row.answer for asked in questions.rows[suite.name]]
    once(answer_file(_folder(models[1], questions), suite), lambda: right)
    assert not promote(platform, StackFile(file), other.alias).waived


def test_a_forced_promotion_is_recorded_with_its_reason_and_shown(
    platform: LocalPlatform, train: Train, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, worse = train(), train(right=False)
    serving(platform, chatbot=good)
    assert promote(platform, StackFile(file), worse.alias, reason="outage 1234").waived
    (waiver,) = waivers(platform.store(), "chatbot")
    assert (waiver["model"], waiver["reason"], waiver["endpoint"]) == (str(worse), "outage 1234", "chatbot")
    print_version(platform, worse, as_json=False)
    assert "outage 1234" in capsys.readouterr().out
    print_version(platform, good, as_json=False)
    assert "waived" not in capsys.readouterr().out
    serving(platform, chatbot=worse)
    assert _endpoint_row(platform, "chatbot")["waived"]["reason"] == "outage 1234"
    promote(platform, StackFile(file), good.alias)
    assert rollback(platform, StackFile(file)).waived
    assert waivers(platform.store())[-1]["reason"] == "outage 1234"


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 201, "\x1b[31mred"])
def test_a_reason_is_a_line_that_can_be_shown(platform: LocalPlatform, file: Path, reason: str) -> None:
    with pytest.raises(KitError, match="is not a reason that fits on one line"):
        promote(platform, StackFile(file), "chatbot@1", reason=reason)


@pytest.mark.parametrize(("force", "reason"), [(True, ""), (True, " "), (False, "why not")])
def test_force_and_reason_go_together(force: bool, reason: str) -> None:
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    with pytest.raises(typer.BadParameter, match=r"needs --reason|without --force"):
        command(context, "chatbot@1", force=force, reason=reason)


def test_the_rows_are_copied_with_a_version_that_is_compared(
    platform: LocalPlatform, train: Train, tmp_path: Path, file: Path
) -> None:
    prod = make_platform(tmp_path / "prod", "prod")
    first, second = train(), train()
    for ref in (first, second):
        prod.store().put_model(platform.store().version(ref), prod.sign)
    serving(prod, chatbot=first)
    with pytest.raises(RefusedError, match="can't be compared with chatbot@1"):
        promote(prod, StackFile(file), second.alias)
    _copy_dataset(platform, prod, second)
    assert not promote(prod, StackFile(file), second.alias).waived
