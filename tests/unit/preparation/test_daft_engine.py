"""What reads the stages on disk, by itself: tests/emulated/preparation runs Daft."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from contract.documents.recipe_data import Data
from preparation.daft_engine import OnDaft


def test_lines_come_in_order_though_files_and_row_groups_overlap(tmp_path: Path) -> None:
    data = Data.model_validate({"sources": [{"source": "rows.jsonl"}]})
    engine = OnDaft(data, tmp_path, str, work=tmp_path / "work", workers=1, tokenizer=None, ner=None, say=print)
    (tmp_path / "examined").mkdir()
    for name, numbers in (("b", [1, 0, 6, 2, 9, 11]), ("a", [8, 3, 4, 5, 12, 10, 7])):
        lines = ["" if number == 4 else f"line {number}" for number in numbers]
        table = pa.table({"number": numbers, "line": lines})
        parquet.write_table(table, tmp_path / "examined" / f"{name}.parquet", row_group_size=2)
    engine._examined = tmp_path / "examined"  # as `examined` leaves it
    rows = [row for both in engine.lines() for row in zip(*(column.to_pylist() for column in both), strict=True)]
    assert rows == [(number, f"line {number}") for number in range(13) if number != 4]


@pytest.mark.parametrize(
    ("prepare", "characters", "together"),
    [({"near_duplicates": 0.7}, 100, 4096), ({"secrets": "redact"}, 100, 512), ({"near_duplicates": 0.7}, 400_000, 41)],
)
def test_a_batch_has_fewer_rows_where_they_are_long_or_looked_into(
    tmp_path: Path, prepare: dict[str, Any], characters: int, together: int
) -> None:
    data = Data.model_validate({"sources": [{"source": "rows.jsonl"}], "prepare": prepare})
    engine = OnDaft(data, tmp_path, str, work=tmp_path / "work", workers=1, tokenizer=None, ner=None, say=print)
    (tmp_path / "read").mkdir()
    for number in range(2):
        lines = [f"{number}{at}{'x' * characters}" for at in range(4)]
        parquet.write_table(pa.table({"line": lines}), tmp_path / "read" / f"{number}.parquet", use_dictionary=False)
    assert engine._rows_together(tmp_path / "read") == together
