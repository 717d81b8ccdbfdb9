"""`python -m llmops_kit.training train`: evaluate_before, train, package, evaluate_after, manifest, each run once.

If another trainer has trained in an earlier job, `train` is skipped: its result is an input, and checked first.

Finished stages are in opt/ml/checkpoints with their hashes; a killed job resumes after the last one.
"""

import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from llmops_kit.core.documents.dataset import DatasetManifest, FileEntry
from llmops_kit.core.documents.evaluation import Answer, GoldenAnswer
from llmops_kit.core.documents.model import Lineage, ModelManifest, TrainingFacts
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import Suite
from llmops_kit.core.documents.run import RUN_VARIABLE, SPEC_VARIABLE, RunSpec
from llmops_kit.core.errors import IntegrityError, KitError, RunError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.core.integrity.digest import check_folder, file_entries
from llmops_kit.core.layout import EVALUATION, MANIFEST, MODEL_CARD, ROOT_VARIABLE, TrainingFolders
from llmops_kit.training import checkpoints
from llmops_kit.training.checkpoint_folders import LOCAL_PREFIX, RESULT
from llmops_kit.training.devices import best_device, precision_on, release_memory, torch_dtype
from llmops_kit.training.ending import DIVERGED, FAILED, STOPPED, described, is_full, is_out_of_memory, report_failure
from llmops_kit.training.evaluation.evaluate import computing_in_f32, recorded, run_suite, write_answers
from llmops_kit.training.evaluation.score_means import summarise
from llmops_kit.training.evaluation.scorers import SuiteRow, score_answers
from llmops_kit.training.evaluation.scoring import assess, check_suites, record, to_ask_again
from llmops_kit.training.guard import DivergedError
from llmops_kit.training.hosts import read_place
from llmops_kit.training.models.weights import load_model, load_tokenizer, stop_tokens
from llmops_kit.training.process import keep_quiet, say, set_threads
from llmops_kit.training.ranks import Alone, PeerError, PeerStoppedError, StoppedError, Team
from llmops_kit.training.stopping import StopRequest
from llmops_kit.training.torch_trainer.batches import check_batch_size
from llmops_kit.training.torch_trainer.finetune import finetune, is_trained

_TO_DO = "to do"
When = Literal["before", "after"]
"""The time of an evaluation: before training, or after it."""


def run_job(environ: Mapping[str, str]) -> int:
    """Runs the job in this container's folders: in this process, or in one for each GPU of each host.

    Returns:
        The exit code: 0 with a complete model version (its gate passed or not), 1 failed, 3 diverged, 143 stopped.
    """
    folders = TrainingFolders.of(environ)
    folders.failure.unlink(missing_ok=True)
    if ROOT_VARIABLE in environ:  # unlike a container's /tmp, this one keeps the files of a killed job
        for left in (folders.root / "tmp").glob(f"{LOCAL_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)

    def work(stop: StopRequest) -> int:
        place = read_place(folders, environ)
        if place.alone:
            TrainingJob(folders, Alone(), stop).run()
            return 0
        from llmops_kit.training.agent import run_host

        return run_host(place, folders, environ, stop)

    return end_reported(work, folders, Alone())


def run_rank(environ: Mapping[str, str]) -> int:
    """Runs one rank of a job that `run_job` started several of; the exit codes are the same."""
    folders, ranks = TrainingFolders.of(environ), Team(environ)
    say(rank=ranks.rank, of=ranks.size, host=ranks.host)
    if not ranks.first:
        keep_quiet()

    def work(stop: StopRequest) -> int:
        TrainingJob(folders, ranks, stop).run()
        return 0

    return end_reported(work, folders, ranks)


def end_reported(work: Callable[[StopRequest], int], folders: TrainingFolders, ranks: Alone) -> int:
    """Runs `work` and returns its exit code; reports a failure to the platform and to the other ranks."""
    try:
        return work(StopRequest())
    except Exception as e:
        error = ranks.explain(e)
    if isinstance(error, StoppedError):
        text = str(error) if isinstance(error, PeerStoppedError) else ranks.leave("stopped", str(error))
        print(f"stopped: {text}", file=sys.stderr, flush=True)
        return STOPPED
    if not isinstance(error, KitError):
        if not (is_full(error) or is_out_of_memory(error)):
            traceback.print_exception(error)
        error = RunError(described(error, _may_quantize(folders)))
    text = str(error) if isinstance(error, PeerError) else ranks.leave("failed", str(error))
    report_failure(folders.failure, text)
    return DIVERGED if isinstance(error, DivergedError) else FAILED


def _may_quantize(folders: TrainingFolders) -> bool:
    """Returns whether the job's recipe could be changed to `adapter: qlora`: it isn't yet, and its framework has it."""
    try:
        options = read_spec(folders.spec).recipe.training
    except KitError:  # unreadable: there is no recipe to change
        return False
    return options.adapter != "qlora" and options.framework == "pytorch"


class TrainingJob:
    """A job of this process: its spec, its ranks, and the stages train, evaluate and package."""

    def __init__(self, folders: TrainingFolders, ranks: Alone, stop: StopRequest) -> None:
        self.folders = folders
        self.ranks = ranks
        self.stop = stop
        self.spec = read_spec(folders.spec)
        self.recipe: Recipe = self.spec.recipe
        self.base = folders.channel("base_model")
        self.dataset = folders.channel("dataset")
        self.facts: TrainingFacts | None = None
        self.suites: dict[str, list[SuiteRow]] = {}
        # Every host's folder of checkpoints goes to the same place: only rank 0 writes into its own.
        self.state = state_folder(folders, self.spec) if self.ranks.first else self.ranks.private_folder()

    def run(self) -> None:
        """Runs all stages.

        Raises:
            KitError: an input is wrong, the run diverged, or a stop was requested.
        """
        began = time.monotonic()
        say(stage="check_inputs")
        if not self.spec.trainer:  # else it has trained already, on its own ranks
            check_batch_size(self.recipe.training.batch_size, self.ranks.size)
        base_manifest = self._check_inputs()
        set_threads(self.recipe.training.threads)
        if not self.ranks.first:
            self._help()
            return
        before = self._evaluated("before")
        facts = self._train()
        self._package()
        after = self._evaluated("after")
        self._finish(base_manifest, before, after, facts)
        say(stage="done", seconds=round(time.monotonic() - began, 1))
        self.ranks.reached("done")

    def _help(self) -> None:
        """Runs the stages of ranks other than the first: evaluates and trains with it, and ends when it has finished
        the rest.
        """
        try:
            if self.ranks.wait_for("evaluate_before") == _TO_DO:
                self._evaluate("before")
            if self.ranks.wait_for("train") == _TO_DO:
                self._finetune()
            if self.ranks.wait_for("evaluate_after") == _TO_DO:
                self._evaluate("after")
            self.ranks.wait_for("done")
        finally:
            shutil.rmtree(self.state, ignore_errors=True)

    def _check_stop(self) -> None:
        self.stop.check()
        self.ranks.check()

    def _check_inputs(self) -> ModelManifest:
        """Refuses inputs other than the versions that the spec names.

        Returns:
            The base model's manifest.
        """
        base = check_inputs(self.spec, self.base, self.dataset)
        self.suites = check_suites(self.recipe, self.dataset)
        if self.spec.trainer:
            from llmops_kit.training.models.own_trainer import check_trained

            self.facts = check_trained(self.folders.channel("trained"), self.base)
        return base

    def _stage(self, name: str, work: Callable[[], Any]) -> Any:
        self._check_stop()
        say(stage=name)
        with _timed(name):
            return checkpoints.once(self.state / f"{name}.json", work)

    def _evaluated(self, when: When) -> dict[str, Any]:
        """Runs an evaluation, on all ranks unless its answers are stored, and returns them."""

        def work() -> dict[str, Any]:
            self.ranks.reached(f"evaluate_{when}", _TO_DO)
            return self._evaluate(when)

        found = self._stage(f"evaluate_{when}", work)
        self.ranks.reached(f"evaluate_{when}")
        return found

    def _evaluate(self, when: When) -> dict[str, Any]:
        """Answers every suite's rows in the trained precision; after training, also some that were right in the other
        one. All ranks answer together, and each gets all answers.
        """
        self.ranks.connect()
        model_folder = self.base
        if when == "after":  # only the first host has it
            model_folder = self.ranks.share(self.folders.model if self.ranks.first else None, self.state)
            assert model_folder
        device = best_device()
        precision = precision_on(device, self.recipe.training.precision)
        release_memory()
        model = load_model(model_folder, torch_dtype(precision)).to(device)
        result: dict[str, Any] = {"answers": {}, "golden": []}
        again: list[tuple[Suite, list[SuiteRow]]] = []
        for suite in self.recipe.evaluation.suites:
            rows = self.suites[suite.name]
            answers = self._ask(model, model_folder, suite, rows)
            result["answers"][suite.name] = [recorded(answer) for answer in answers]
            again.append((suite, to_ask_again(suite, rows, answers)))
            self._report(suite, rows, answers, when)
        if when == "after":
            # A server computes in bf16 or f32, depending on its processor, not on the trained precision: a prompt is
            # golden only if its answer is right in both.
            if precision == "f32":
                del model
                release_memory()
                model = load_model(model_folder, torch_dtype("bf16")).to(device)
            with nullcontext() if precision == "f32" else computing_in_f32(model):
                for suite, rows in again:
                    for row, answer in zip(rows, self._ask(model, model_folder, suite, rows), strict=True):
                        golden = GoldenAnswer(suite=suite.name, row=row.id, answer=str(answer))
                        result["golden"].append(golden.model_dump())
        return result

    def _report(self, suite: Suite, rows: list[SuiteRow], answers: list[Answer], when: When) -> None:
        """Writes a suite's answers for people to read, and prints their score; judges are asked later."""
        path = self.state / "reports" / f"answers-{suite.name}-{when}.jsonl"
        if suite.judged:
            write_answers(path, rows, answers, None)
            say(suite=suite.name, when=when, of=len(answers))
            return
        scored = score_answers(suite, rows, answers)
        write_answers(path, rows, answers, scored.values)
        mean = summarise(suite.metric, scored, [row.group for row in rows]).value
        say(suite=suite.name, when=when, score=f"{mean:.4f}", of=len(answers))

    def _ask(self, model: Any, folder: Path, suite: Suite, rows: list[SuiteRow]) -> list[Answer]:
        if not rows:
            return []
        asked, system, stop = [each.row for each in rows], self.recipe.serving.system_prompt, stop_tokens(folder)
        return run_suite(model, load_tokenizer(folder), suite, asked, system, stop, self._check_stop, self.ranks)

    def _train(self) -> TrainingFacts | None:
        """Trains on all ranks, and returns the facts; after another trainer's job, returns the facts that it left."""
        self._check_stop()
        if self.spec.trainer:
            self.ranks.reached("train")
            return self.facts
        say(stage="train")
        self.ranks.reached("train", "" if is_trained(self.state) else _TO_DO)
        with _timed("train"):
            return self._finetune()

    def _finetune(self) -> TrainingFacts:
        splits = split_files(self.dataset)
        with self.stop.at_a_step():
            return finetune(
                self.base,
                splits["train"],
                self.recipe.training,
                self.recipe.serving.system_prompt,
                self.state,
                lambda: self.ranks.any_asks(self.stop.asked),
                self.ranks,
                splits.get("validation"),
            )

    def _package(self) -> None:
        """Makes a version of the trained weights, unless a complete and unchanged one exists."""
        self._check_stop()
        say(stage="package")
        record = self.state / "package.json"
        if record.exists() and not _holds(self.folders.model, record):
            # A replaced container keeps only its checkpoints; scores remain valid, as packaging gives the same bytes.
            record.unlink()

        def work() -> dict[str, Any]:
            from llmops_kit.training.package import package, package_trained

            if self.spec.trainer:
                trained = self.folders.channel("trained")
                package_trained(self.base, trained, self.folders.model, self.recipe.export.openvino)
            else:
                with tempfile.TemporaryDirectory(prefix=LOCAL_PREFIX) as local:
                    trained = checkpoints.fetched(self.state / RESULT, Path(local))
                    package(self.base, trained, self.folders.model, self.recipe.export.openvino)
            return {name: entry.model_dump() for name, entry in file_entries(self.folders.model).items()}

        with _timed("package"):
            checkpoints.once(record, work)

    def _finish(
        self, base: ModelManifest, before: dict[str, Any], after: dict[str, Any], facts: TrainingFacts | None
    ) -> None:
        from llmops_kit.training.models.manifests import write_manifest
        from llmops_kit.training.models.model_card import model_card

        self._check_stop()
        say(stage="manifest")
        if (self.state / "reports").exists():  # missing after a restart if the platform restored only a part
            shutil.copytree(self.state / "reports", self.folders.reports, dirs_exist_ok=True)
        golden = [GoldenAnswer.model_validate(each) for each in after["golden"]]
        answers = record(self.suites, before["answers"], after["answers"], golden)
        answers.write(self.folders.model / EVALUATION)
        verdict = assess(self.recipe, self.suites, answers, None)
        spec, dataset = self.spec, DatasetManifest.load(self.dataset / MANIFEST)
        card = model_card(self.recipe, base, dataset, verdict.evaluation, verdict.gate, facts)
        (self.folders.model / MODEL_CARD).write_text(card)
        write_manifest(
            self.folders.model,
            name=self.recipe.name,
            licence=base.licence,
            lineage=Lineage.of_run(spec, os.environ.get(RUN_VARIABLE) or spec.id),
            golden=verdict.golden,
            evaluation=verdict.evaluation,
            gate=verdict.gate,
            evaluated=self.recipe.evaluation,
            training=facts,
            serving=self.recipe.serving,
            page=self.recipe.page,
        )
        for reason in verdict.gate.reasons:
            print(f"gate: {reason}", flush=True)
        judged = any(suite.judged for suite in self.recipe.evaluation.suites)
        say(gate="waits for its judge" if judged else "passed" if verdict.gate.passed else "failed")


def check_inputs(spec: RunSpec, base: Path, dataset: Path) -> ModelManifest:
    """Refuses inputs other than the versions that a spec names.

    Args:
        base: the folder of the base model's version.
        dataset: that of the dataset's version.

    Returns:
        The base model's manifest.

    Raises:
        IntegrityError: naming the folder or the file.
    """
    for folder, pinned in ((base, spec.base_model), (dataset, spec.dataset)):
        found = sha256_file(folder / MANIFEST)
        if found != pinned.sha256:
            raise IntegrityError(
                f"is version sha256:{found}; the run was made for {pinned.name} sha256:{pinned.sha256}",
                where=str(folder),
                fix="submit the run again, so that its inputs are copied again",
            )
    check_folder(dataset, DatasetManifest.load(dataset / MANIFEST).files)
    manifest = ModelManifest.load(base / MANIFEST)
    check_folder(base, manifest.files)
    return manifest


def state_folder(folders: TrainingFolders, spec: RunSpec) -> Path:
    """Returns the folder of a job's checkpoints and finished stages; a job with other inputs has another one."""
    inputs = f"{spec.recipe.to_json()}{spec.dataset}{spec.base_model}{spec.trainer or ''}"
    return folders.checkpoints / sha256_bytes(inputs.encode())[:16]


def split_files(dataset: Path) -> dict[str, Path]:
    """Returns the files of a dataset version's splits."""
    return {name: dataset / file for name, file in DatasetManifest.load(dataset / MANIFEST).splits.items()}


def read_spec(path: Path) -> RunSpec:
    """Returns the run's spec, which must be the one that the job's request names.

    Raises:
        IntegrityError: it was changed since the job was submitted.
    """
    expected = os.environ.get(SPEC_VARIABLE)
    if expected and path.is_file() and sha256_file(path) != expected:
        raise IntegrityError(
            f"is not the submitted spec: it is not sha256:{expected}",
            where=str(path),
            fix="submit the run again, and check who can write to the folder of runs: something changed it",
        )
    return RunSpec.load(path)


@contextmanager
def _timed(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(finished=name, seconds=round(time.monotonic() - began, 1))


def _holds(folder: Path, record: Path) -> bool:
    try:
        written = checkpoints.unsealed(record)
        check_folder(folder, {name: FileEntry.model_validate(entry) for name, entry in written.items()})
    except (IntegrityError, ValueError):
        return False
    return True
