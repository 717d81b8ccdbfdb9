"""A model's answers to suites: recorded by its training, kept on this machine, or requested now."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from llmops_kit.cli.evaluation.models import AskedModel, FolderModel, RemoteModel, StoredModel
from llmops_kit.cli.images.image_program import run_in_image
from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.judging.asking import ask_patiently, at_once, reply_message, request_messages
from llmops_kit.cli.runs.receipts import read_answers
from llmops_kit.cli.store.store import Store
from llmops_kit.core.documents.evaluation import Answer
from llmops_kit.core.documents.recipe_evaluation import LIKELIHOOD, GateCheck, Suite
from llmops_kit.core.errors import IntegrityError, KitError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import MANIFEST, cache_dir
from llmops_kit.training.checkpoints import unsealed
from llmops_kit.training.evaluation.answering import answer_file
from llmops_kit.training.evaluation.scoring import SuiteRow

_ANSWERS = TypeAdapter(list[Answer])
_ENDPOINT_FIX = "$OPENAI_API_KEY holds the endpoint's key; #MODEL at the end of the address selects a model"


@dataclass(frozen=True)
class Questions:
    """The questions for every model."""

    dataset: Path
    dataset_sha256: str
    suites: Sequence[Suite]
    gate: Sequence[GateCheck]
    rows: Mapping[str, Sequence[SuiteRow]]
    """Suite -> the rows that it asks."""
    system_prompt: str
    """The recipe's system prompt, for models without their own."""
    precision: Literal["auto", "bf16", "f32"]


@dataclass(frozen=True)
class GivenAnswers:
    """One model's answers by suite, and their origin."""

    texts: dict[str, list[Answer]]
    source: dict[str, str]
    """Suite -> `recorded` by its training, or `this machine`, or `endpoint`."""


def known_answers(store: Store, model: AskedModel, questions: Questions) -> GivenAnswers:
    """Returns the answers that need no model to run: those recorded for equal suites on equal rows, and those kept
    here.
    """
    texts: dict[str, list[Answer]] = {}
    source: dict[str, str] = {}
    for suite in questions.suites:
        if isinstance(model, RemoteModel):
            continue
        if isinstance(model, StoredModel) and (found := _recorded(store, model, suite, questions)):
            texts[suite.name], source[suite.name] = found, "recorded"
        elif found := _kept(model, suite, questions):
            texts[suite.name], source[suite.name] = found, "this machine"
    return GivenAnswers(texts, source)


def answers_of(store: Store, model: AskedModel, questions: Questions, key: str, say: Say) -> GivenAnswers:
    """Returns a model's answers to every suite; requests unknown ones, and keeps them by content.

    Args:
        store: the stack's store.
        model: the model to ask.
        questions: the questions.
        key: an endpoint's API key; empty: none is sent.
        say: called before slow steps.

    Raises:
        KitError: the model can't be loaded, or the endpoint refuses.
    """
    known = known_answers(store, model, questions)
    missing = [suite for suite in questions.suites if suite.name not in known.texts]
    if isinstance(model, RemoteModel):
        texts = {suite.name: _ask_endpoint(model, suite, questions, key, say) for suite in missing}
        return GivenAnswers(texts, dict.fromkeys(texts, "endpoint"))
    if missing:
        _ask_here(model, missing, questions, say)
        for suite in missing:
            known.texts[suite.name] = _kept(model, suite, questions) or []
            known.source[suite.name] = "this machine"
    return known


def _recorded(store: Store, model: StoredModel, suite: Suite, questions: Questions) -> list[Answer] | None:
    """Returns the answers recorded by the model's training to these rows, if it was asked under the same conditions."""
    manifest = model.manifest
    if manifest.evaluated is None:
        return None
    same = [each.name for each in manifest.evaluated.suites if _conditions(each) == _conditions(suite)]
    if not same:
        return None
    recorded = read_answers(store.version(model.ref), manifest, f"{model.name}: {MANIFEST}")
    for given in recorded.suites:
        if given.suite in same:
            by_row = {answer.row: answer.after for answer in given.rows}
            if all(row.id in by_row for row in questions.rows[suite.name]):
                return [by_row[row.id] for row in questions.rows[suite.name]]
    return None


def _conditions(suite: Suite) -> str:
    """Returns the settings of a suite that affect answers, which exclude its judge and COMET model."""
    return suite.model_copy(
        update={"name": "any", "limit": 0, "judge": None, "comet": None, "program": None}
    ).model_dump_json()


def _kept(model: StoredModel | FolderModel, suite: Suite, questions: Questions) -> list[Answer] | None:
    try:
        found = _ANSWERS.validate_python(unsealed(answer_file(_folder(model, questions), suite)))
    except (OSError, IntegrityError, ValidationError):
        return None
    return found if len(found) == len(questions.rows[suite.name]) else None


def _folder(model: StoredModel | FolderModel, questions: Questions) -> Path:
    """Returns the folder of kept answers, named by a hash of everything that affects them except the suite."""
    from llmops_kit.local_runtime import process_images

    content = (
        *(model.sha256, questions.dataset_sha256, model.system_prompt(questions.system_prompt), questions.precision),
        process_images.reference("training"),
    )
    return cache_dir() / "answers" / sha256_bytes(json.dumps(content).encode())


def _ask_here(model: StoredModel | FolderModel, suites: Sequence[Suite], questions: Questions, say: Say) -> None:
    """Asks the model in the training image, as a process of this machine."""
    out = _folder(model, questions)
    out.mkdir(parents=True, exist_ok=True)
    folder = model.fetch(say)
    with tempfile.TemporaryDirectory() as work:
        run_in_image(
            "training",
            *("-m", "llmops_kit.training", "answer", folder, questions.dataset, out),
            *(word for suite in suites for word in ("--suite", suite.model_dump_json())),
            *("--system-prompt", model.system_prompt(questions.system_prompt), "--precision", questions.precision),
            label=model.name,
            work=Path(work),
            say=say,
            what=f"asking {model.name} ended",
        )


def _ask_endpoint(model: RemoteModel, suite: Suite, questions: Questions, key: str, say: Say) -> list[Answer]:
    """Asks an endpoint greedily, as its clients do: with the rows' messages alone.

    Raises:
        KitError: the endpoint refuses, or the suite measures likelihoods, which answers do not show.
    """
    if suite.metric == LIKELIHOOD:
        raise KitError(
            f"does not return the likelihood of texts, which suite {suite.name} measures",
            where=model.url,
            fix="leave the suite out: --suite names the others",
        )
    rows = questions.rows[suite.name]

    def answer(asked: SuiteRow) -> str:
        request = {
            "messages": request_messages(asked.row.prompt),
            "max_tokens": suite.max_tokens,
            "temperature": 0,
            **({"model": model.model} if model.model else {}),
            **({"tools": [tool.to_dict() for tool in asked.row.tools]} if asked.row.tools else {}),
        }
        message = reply_message(ask_patiently(model.url, key, request, _ENDPOINT_FIX, say), model.url)
        if calls := message.get("tool_calls"):
            return json.dumps({"tool_calls": calls})  # a form that llmops_kit.core.models.tool_calls reads
        return str(message.get("content") or "").strip()

    texts = []
    for text in at_once(answer, rows):
        texts.append(text)
        if len(texts) % 32 == 0 or len(texts) == len(rows):
            say(f"{model.name}: suite={suite.name} answered={len(texts)} of={len(rows)}")
    return texts
