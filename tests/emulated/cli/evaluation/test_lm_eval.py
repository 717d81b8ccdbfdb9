"""A task of a folder, asked by the harness of a version that the serving image serves."""

import json
from pathlib import Path

import pytest

from llmops_kit.cli.evaluation.lm_eval import run_tasks
from llmops_kit.cli.evaluation.models import stored_model
from llmops_kit.core.errors import RunError
from tests.support.tiny_models.models import tiny_model
from tests.unit.cli.conftest import make_platform

TASK = """\
task: numbers
dataset_path: json
dataset_kwargs: {data_files: {test: ROWS}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


@pytest.mark.long
def test_a_local_task_is_asked_of_a_version_and_its_server_ends(tmp_path: Path) -> None:
    platform = make_platform(tmp_path / "home", "dev")
    model = stored_model(platform, platform.store().put_model(tiny_model(), platform.sign))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    rows = [json.dumps({"question": f"Say {n}", "answer": str(n)}) + "\n" for n in range(5)]
    (tasks / "rows.jsonl").write_text("".join(rows))
    (tasks / "numbers.yaml").write_text(TASK.replace("ROWS", str(tasks / "rows.jsonl")))
    said: list[str] = []
    (score,) = run_tasks(model, platform.outputs.signing.public_key, ["numbers"], tasks, said.append)
    assert (score.task, score.metric, score.value, score.rows) == ("numbers", "exact_match", 0.0, 5)
    assert "lm-eval: answered 100 %" in said
    with pytest.raises(RunError, match="unknown-task"):
        run_tasks(model, platform.outputs.signing.public_key, ["unknown-task"], tasks, said.append)
