"""Finds personal data by a model: names of people, places and whatever else it labels.

The model labels tokens. It has OpenVINO's form (`training/models/openvino_form.py`) and runs one text at a time, in f32
on one thread, so that a text's labels depend neither on other texts nor on the number of processes.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe_prepare import Action, NamedEntities
from llmops_kit.core.errors import DataError
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.words import joins
from llmops_kit.data_pipeline.found import FoundText

_WINDOW = 256
"""Tokens of a window; most models take up to 512, and their work grows with the square."""
_OVERLAP = 64
"""Tokens that two windows share: labels in the middle of a window have context on both sides."""
_NOTHING = "O"
_PREFIX = re.compile(r"^[BIESLU]-")  # of the schemes IOB, BIOES and BILOU
_BEGINS = ("B-", "S-", "U-")


class _Label(NamedTuple):
    """A token's label, and how far the token is from the end of its window."""

    margin: int
    label: str


class NamedEntityModel:
    """Finds entities by a model's labels."""

    def __init__(self, folder: Path, wanted: NamedEntities) -> None:
        """Loads a version's model.

        Raises:
            DataError: `entities` names a label that the model doesn't have, or the version lacks OpenVINO's form.
            KitError: the version is not a model for token classification.
        """
        config = read_config(folder, wanted)
        self._labels = [str(config["id2label"][str(number)]) for number in range(len(config["id2label"]))]
        self.actions = actions_of(config, wanted)
        # RoBERTa reserves 2 positions.
        self._size = min(_WINDOW, int(config.get("max_position_embeddings") or _WINDOW + 2) - 2)
        self._tokenizer = self._load_tokenizer(folder)
        self._model = self._load(folder)
        self._inputs = [each.get_any_name() for each in self._model.inputs]

    def find(self, text: str) -> list[FoundText]:
        """Returns the entities in a text, each with its label without B- or I-, as whole words."""
        if not text.strip():
            return []
        return [each for each in spans(text, self._labelled(text)) if each.kind in self.actions]

    def _labelled(self, text: str) -> list[tuple[int, int, str]]:
        """Returns (start, end, label) of each token; for one in two windows, from that in which it is further
        inside.
        """
        first = self._tokenizer.encode(text)
        found: dict[tuple[int, int], _Label] = {}
        for window in (first, *first.overflowing):
            last = len(window.ids) - 1
            for at, (place, special, label) in enumerate(
                zip(window.offsets, window.special_tokens_mask, self._run(window), strict=True)
            ):
                here = _Label(min(at, last - at), label)
                if not special and place[1] > place[0] and here.margin >= found.get(place, here).margin:
                    found[place] = here
        return [(start, end, each.label) for (start, end), each in found.items()]

    def _run(self, window: Any) -> Iterable[str]:
        import numpy as np

        values = {"input_ids": window.ids, "attention_mask": window.attention_mask, "token_type_ids": window.type_ids}
        [logits] = self._model({name: np.array([values[name]], dtype=np.int64) for name in self._inputs}).values()
        return [self._labels[number] for number in np.argmax(logits[0], axis=-1)]

    def _load_tokenizer(self, folder: Path) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self._size, stride=min(_OVERLAP, self._size // 4))
        return tokenizer

    def _load(self, folder: Path) -> Any:
        import openvino

        options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        return openvino.Core().compile_model(folder / "openvino/openvino_model.xml", "CPU", options)


def read_config(folder: Path, wanted: NamedEntities) -> dict[str, Any]:
    """Returns the config.json of a version, after checking that it can run here.

    Raises:
        DataError: it lacks OpenVINO's form.
        KitError: it is not a model for token classification.
    """
    where = "data.prepare.ner.model"
    manifest = ModelManifest.load(folder / MANIFEST)
    manifest.require_task(f"{where}: {wanted.model}", "token-classification")
    if "openvino" not in manifest.engines:
        fix = f"run `llmops models convert {wanted.model}`, and name the version that it creates"
        raise DataError(f"{wanted.model} lacks OpenVINO's form, which is required to run it", where=where, fix=fix)
    return json.loads((folder / "config.json").read_text())


def actions_of(config: dict[str, Any], wanted: NamedEntities) -> dict[str, Action]:
    """Returns kind of entity -> action on rows that contain it.

    Raises:
        DataError: `entities` names a label that the model doesn't have.
    """
    kinds = {kind_of(label) for label in config["id2label"].values() if label != _NOTHING}
    if isinstance(wanted.entities, str):
        return dict.fromkeys(sorted(kinds), wanted.entities)
    if unknown := sorted(set(wanted.entities) - kinds):
        raise DataError(
            f"{wanted.model} has no label {unknown[0]}",
            where="data.prepare.ner.entities",
            fix=f"its labels are {', '.join(sorted(kinds))}",
        )
    return wanted.entities


def kind_of(label: str) -> str:
    """Returns a label without B- or I-, as one word of letters, digits and underscores."""
    return re.sub(r"\W+", "_", _PREFIX.sub("", label))


def spans(text: str, labelled: Iterable[tuple[int, int, str]]) -> list[FoundText]:
    """Returns the entities in labelled tokens, extended to whole words: the rest of a name could reveal it.

    Args:
        text: the labelled text.
        labelled: start, end and label of each token.
    """
    made: list[FoundText] = []
    for start, end, label in sorted(_of_entities(text, labelled)):
        kind, before = kind_of(label), made[-1] if made else None
        if before and before.kind == kind:
            between = text[before.end : start]
            if start < before.end or not (label.startswith(_BEGINS) or between.strip()):
                made[-1] = FoundText(before.start, max(before.end, end), kind)
                continue
        made.append(FoundText(start, end, kind))
    return made


def _of_entities(text: str, labelled: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    for start, end, label in labelled:
        if label == _NOTHING or not (inner := text[start:end].strip()):
            continue
        start += text[start:end].index(inner)  # some tokenizers count the space before a word
        yield *_whole_words(text, start, start + len(inner)), label


def _whole_words(text: str, start: int, end: int) -> tuple[int, int]:
    while start > 0 and joins(text[start - 1], text[start]):
        start -= 1
    while end < len(text) and joins(text[end - 1], text[end]):
        end += 1
    return start, end
