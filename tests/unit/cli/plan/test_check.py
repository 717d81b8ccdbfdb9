"""`llmops train --check` starts one program of the training image, whichever files describe the base model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.cli.plan.check import _assumptions, check_training
from llmops_kit.core.documents.estimate import Estimate, EstimateRequest, MachineFit, PeakMemory, RowLengths
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.documents.recipe_data import DataSource
from tests.support.runs.training import tiny_recipe, write_rows

ANSWER = Estimate(
    parameters=1000,
    trained=10,
    lengths=RowLengths(counted=True, examples=9, longest=40, loss_bearing=8, tokens=300),
    machines=[
        MachineFit(
            name="this machine",
            gpus=0,
            fits=True,
            precision="f32",
            sharded=False,
            checkpointing=False,
            micro_batch=3,
            accumulation=1,
            peak=PeakMemory(weights=4, gradients=3, optimizer=2, activations=1),
            padding=1.0,
            flops_per_token=6.0,
        )
    ],
)
Started = list[tuple[str | Path, ...]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The programs of the image that were started, each of which answers a request for an estimate."""
    commands: Started = []

    def run(image: str, *arguments: str | Path, work: Path, say: Callable[[str], None], **_: str) -> None:
        assert (image, arguments[:3]) == ("training", ("-m", "llmops_kit.training", "estimate"))
        commands.append(arguments[3:])
        Path(arguments[5]).write_text(ANSWER.model_dump_json())
        rows = EstimateRequest.model_validate(json.loads(Path(arguments[4]).read_text())).rows
        assert bool(rows) == (Path(arguments[3]).name != "without-tokenizer")

    for module in ("plan.check", "importing.outlines"):
        monkeypatch.setattr(f"llmops_kit.cli.{module}.run_in_image", run)
    return commands


def check(folder: Path, base: str, chat_template: str = "") -> None:
    write_rows(folder)
    source = BaseModelSource(name="tiny", source=f"folder:{base}", chat_template=chat_template)
    recipe = tiny_recipe().model_copy(update={"base_model": source})
    found = check_training(recipe, folder / "recipe.yaml", None, None, None, print)
    assert (found.parameters, [each.own for each in found.machines]) == (1000, [True])


def test_one_program_reads_a_gguf_file_and_estimates(tmp_path: Path, started: Started) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "tiny.gguf").write_bytes(b"GGUF")
    (tmp_path / "tools.jinja").write_text("{{ messages }}")
    check(tmp_path, "tiny", "tools.jinja")
    ((source, _, _, *template),) = started
    assert (source, template) == (tmp_path / "tiny", ["--chat-template", tmp_path / "tools.jinja"])


@pytest.mark.parametrize("name", ["with-tokenizer", "without-tokenizer"])
def test_rows_are_counted_by_a_folders_own_tokenizer(tmp_path: Path, started: Started, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text("{}")
    if name == "with-tokenizer":
        (tmp_path / name / "tokenizer.json").write_text("{}")
    check(tmp_path, name)
    ((source, _, _, *template),) = started
    assert (source, template) == (tmp_path / name, [])


def test_a_source_elsewhere_is_named_as_the_reason_why_rows_were_not_counted() -> None:
    recipe, elsewhere = tiny_recipe(), DataSource(source="package:rows==1.0", licence="MIT")
    data = recipe.data.model_copy(update={"sources": [*recipe.data.sources, elsewhere]})
    unknown = ANSWER.model_copy(update={"lengths": RowLengths(counted=False, longest=64, loss_bearing=8)})
    (said,) = _assumptions(unknown, recipe.model_copy(update={"data": data}))
    assert said.startswith("rows were not counted, since a check downloads none, and package:rows==1.0 is not on")
    (said,) = _assumptions(unknown, recipe)  # a run's, whose rows are in the store
    assert said.startswith("rows were not counted: each is taken for 64 tokens")
