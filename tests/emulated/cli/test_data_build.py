"""`llmops data build` with `data.prepare`: the image, its errors, and the page."""

import json
import os
import subprocess
import sys
from pathlib import Path

RECIPE = """\
schema: recipe/2
name: texts
base_model: {name: tiny, source: "store:tiny@1"}
training: {method: pretrain}
data: {sources: [{source: rows.jsonl}], prepare: %s}
evaluation: {suites: [{name: all, split: %s, metric: perplexity}]}
"""


def build(home: Path, prepare: dict[str, object], suite: str = "train") -> "subprocess.CompletedProcess[str]":
    (home / "recipe.yaml").write_text(RECIPE % (json.dumps(prepare), suite))
    return subprocess.run(
        [sys.executable, "-m", "llmops_kit.cli", "data", "build", "recipe.yaml", "--json", "--workers", "1"],
        cwd=home,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_rules_run_in_the_image_and_errors_come_back(tmp_path: Path) -> None:
    texts = [f"Question {n}: how much does the {n}th cup of tea cost today?" for n in range(20)]
    rows = [{"text": text} for text in texts] + [{"text": "kurz"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = build(tmp_path, {"quality": {"min_words": 5, "min_stop_words": 1, "repetition": False}})
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["rows"] == {"train": 20}
    assert made["dropped"] == {"quality: fewer than 5 words": 1}
    assert "examine: by 1 processes" in done.stderr
    page = (tmp_path / made["page"]).read_text()
    assert "kurz" in page
    unasked = build(tmp_path, {"quality": {"min_words": 5, "min_stop_words": 1, "repetition": False}}, suite="test")
    assert unasked.returncode != 0
    assert "finds no" in unasked.stdout
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"texts": "b"}\n')
    faulty = build(tmp_path, {"quality": {}})
    assert faulty.returncode == 2
    assert "rows.jsonl:2" in faulty.stdout
    missing = build(tmp_path, {"tokenizer": "none.json"})
    assert "none.json" in missing.stdout
    assert "is not a tokenizer" in missing.stdout
