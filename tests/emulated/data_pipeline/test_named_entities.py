"""`data.prepare.ner`: names that a stored model finds, on any number of workers and in texts longer than its window."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.data.collect import collect
from llmops_kit.core.documents.dataset import DatasetManifest
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_prepare import NamedEntities
from llmops_kit.core.errors import DataError, KitError
from llmops_kit.core.hashes import sha256_file
from llmops_kit.core.layout import MANIFEST
from llmops_kit.data_pipeline.found import FoundText
from llmops_kit.data_pipeline.named_entities import NamedEntityModel
from llmops_kit.training.data.lines import read_lines
from tests.emulated.data_pipeline.test_planted import finish, start
from tests.support.tiny_models.models import tagger_model, tiny_model, training_environ, training_python

WANTED = NamedEntities(model="tagger@1", entities={"PER": "redact", "LOC": "drop"})
PIPELINE = """\
import json, sys
from transformers import pipeline
ask = pipeline("token-classification", model=sys.argv[1], aggregation_strategy="none", ignore_labels=[])
print(json.dumps([[[e["start"], e["end"], e["entity"]] for e in ask(text)] for text in json.loads(sys.argv[2])]))
"""


def test_labels_are_those_of_transformers() -> None:
    texts = ["Maria and Maria Jonas sails to Riga , a boat .", "Nobody asks . maria, maria", "The boat sails"]
    asked = [training_python(), "-c", PIPELINE, tagger_model(), json.dumps(texts)]
    done = subprocess.run(asked, env=training_environ(), capture_output=True, text=True, check=True)
    model = NamedEntityModel(tagger_model(), WANTED)
    assert [[list(each) for each in model._labelled(text)] for text in texts] == json.loads(done.stdout)
    # Whole words, though the model tags their first token alone; I- goes on with what is before it.
    found = {text: [(text[each.start : each.end], each.kind) for each in model.find(text)] for text in texts}
    assert list(found.values()) == [
        [("Maria", "PER"), ("Maria Jonas", "PER"), ("Riga", "LOC")],
        [("maria", "PER"), ("maria", "PER")],
        [],
    ]


def test_names_are_found_wherever_a_long_text_has_them() -> None:
    model = NamedEntityModel(tagger_model(), WANTED)
    words = ["boat" if n % 2 else "the" for n in range(200)]
    for at in range(0, 200, 7):
        before, after = " ".join(words[:at]), " ".join(words[at:])
        text = f"{before} Jonas {after}".strip()
        start = text.index("Jonas")
        assert model.find(text) == [FoundText(start, start + 5, "PER")], at


def test_a_model_of_another_kind_and_unknown_labels_are_refused() -> None:
    manifest = ModelManifest.load(tagger_model() / MANIFEST)
    assert (manifest.task, manifest.dtype, manifest.golden) == ("token-classification", "F32", [])
    with pytest.raises(KitError, match="is a model for text-generation, not for token-classification"):
        NamedEntityModel(tiny_model(), WANTED)
    with pytest.raises(DataError, match="has no label PERSON") as refused:
        NamedEntityModel(tagger_model(), NamedEntities(model="tagger@1", entities={"PERSON": "drop"}))
    assert refused.value.fix == "its labels are LOC, PER"


def test_rows_are_masked_or_dropped_and_any_number_of_workers_gives_the_same_version(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"The boat {n} ?", "completion": f"Maria lives in the boat {n} ."} for n in range(30)
    ]
    rows += [{"prompt": "Where to ?", "completion": "The boat sails to Riga ."}]
    rows += [{"prompt": "Who ?", "completion": "Jonas", "expect": ["Jonas"]}]
    rows += [{"prompt": "Mail ?", "completion": "Jonas and jonas@example.org"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe.new(
        name="names",
        base_model={"name": "base", "source": "folder:base"},
        data={"sources": [{"source": "rows.jsonl"}], "prepare": {"ner": WANTED.model_dump()}},
        evaluation={"suites": [{"name": "all", "split": "train"}]},
    )
    recipe.write(tmp_path / "light.json")
    collect(recipe.data.sources, tmp_path, tmp_path / "collected", secret=str, say=lambda _: None)
    ner = str(tagger_model())
    assert len({finish(start(tmp_path, str(count), count, ner=ner))[0] for count in (1, 2, 4)}) == 1
    manifest = DatasetManifest.load(tmp_path / "2" / MANIFEST)
    assert manifest.ner_model == sha256_file(tagger_model() / MANIFEST)
    assert manifest.redacted == {"PER": 32}
    assert manifest.dropped == {"personal data: LOC": 1}
    answers = [json.loads(line)["messages"][1]["content"] for line in read_lines(tmp_path / "2" / "train.parquet")]
    assert answers[0] == "<PER> lives in the boat 0 ."
    assert answers[-1] == "<PER> and <PER>@example.org"
