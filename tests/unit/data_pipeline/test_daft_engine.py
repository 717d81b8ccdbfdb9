"""The stages on disk, by themselves: tests/emulated/data_pipeline runs whole programs."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from llmops_kit.cli.data.collect import collect
from llmops_kit.core.documents.recipe_data import Data
from llmops_kit.data_pipeline.daft_engine import OnDaft
from tests.support.checkout import CHECKOUT


def engine_for(folder: Path, source: str, **data: Any) -> OnDaft:
    """An engine on one source, whose files were collected."""
    given = Data.model_validate({"sources": [{"source": source}], **data})
    collect(given.sources, folder, folder / "collected", secret=str, say=lambda _: None)
    return OnDaft(
        given,
        folder / "collected",
        lambda file: file.path,
        work=folder / "work",
        workers=1,
        ray=False,
        tokenizer=None,
        ner=None,
        say=print,
    )


def rows_of(stage: str, folder: Path) -> list[int]:
    """How many rows each file of a stage has."""
    [found] = (folder / "work").glob(f"{stage}-*")
    return [parquet.read_metadata(path).num_rows for path in sorted(found.iterdir())]


def test_rows_and_lines_come_in_order_over_several_files(tmp_path: Path) -> None:
    texts = [f"row number {number}" for number in range(5000)]
    texts[4200] = "?" * 3_000
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    engine = engine_for(tmp_path, "rows.jsonl", prepare={"overlap_words": 5}, max_characters=2_000)
    examined = [number for some in engine.examined() for number in some.numbers]
    assert examined == list(range(5000))
    assert len(rows_of("examined", tmp_path)) > 1
    lines = [row for both in engine.lines() for row in zip(*(column.to_pylist() for column in both), strict=True)]
    kept = [number for number in range(5000) if number != 4200]
    assert lines == [(number, json.dumps({"text": texts[number]}) + "\n") for number in kept]


@pytest.mark.parametrize(
    ("prepare", "characters", "together"),
    [
        ({"overlap_words": 5}, 10, [4096, 404]),
        ({"secrets": "redact"}, 10, [512] * 8 + [404]),
        ({"overlap_words": 5}, 10_000, [1677, 1677, 1146]),
    ],
)
def test_a_file_of_a_stage_has_fewer_rows_where_they_are_long_or_looked_into(
    tmp_path: Path, prepare: dict[str, Any], characters: int, together: list[int]
) -> None:
    (tmp_path / "rows.jsonl").write_text((json.dumps({"text": "x" * (characters - 2)}) + "\n") * 4500)
    engine = engine_for(tmp_path, "rows.jsonl", prepare=prepare)
    next(iter(engine.examined()))
    assert rows_of("read", tmp_path) == together
    assert rows_of("examined", tmp_path) == together


def test_rows_that_can_not_be_read_are_told_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('[{"text": "one"}, 2, {"text": "three"}]')
    engine = engine_for(tmp_path, "rows.json", prepare={"overlap_words": 5}, faulty_rows=0.5)
    [rows] = engine.examined()
    assert rows.said["fault"] == ["", "is not a JSON object but int", ""]
    assert rows.said["fault_where"][1].endswith("rows.json:2")
    assert rows.said["fix"][1] == "write one JSON object per row"


def test_rows_that_their_reader_leaves_out_are_dropped_by_its_reason(tmp_path: Path) -> None:
    example = json.loads((CHECKOUT / "tests/unit/core/examples/capture-1.json").read_text())
    lines = [json.dumps(example | {"feedback": feedback}) for feedback in ({}, {"score": -1})]
    (tmp_path / "chats.capture.jsonl").write_text("\n".join(lines))
    engine = engine_for(tmp_path, "chats.capture.jsonl", prepare={"overlap_words": 5})
    [rows] = engine.examined()
    assert rows.said["reason"] == ["", "feedback: score of 0 or less, no correction"]
    [(numbers, _)] = engine.lines()
    assert numbers.to_pylist() == [0]
