"""Suites `program`: a user's Python file scores answers, confined, on this machine.

Reading a recipe from a file records its programs' SHA-256, and copies them into this machine's cache. Only files that
the caller named by path are ever run; none that a run, a store or a version supplies.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.cli.judging.judging import JudgedAnswers, keep_verdict, known_verdicts
from llmops_kit.core.documents.judgements import JudgeVerdict
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.recipe_evaluation import ScoreProgram, Suite
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import cache_dir
from llmops_kit.local_runtime import confinement
from llmops_kit.local_runtime.files import write_atomic
from llmops_kit.training.evaluation.judging import JudgeRequest, Verdicts

_SCORES = TypeAdapter(list[FiniteFloat])
_DRIVER = "score_rows.py"
_MOST_BYTES = 2**20
_BYTES_A_SCORE = 32


def pin_programs(recipe: Recipe, recipe_path: Path) -> Recipe:
    """Returns a recipe whose suites name their programs with SHA-256; keeps the files on this machine.

    Raises:
        KitError: a file is missing, too large, or differs from the SHA-256 in the recipe.
    """
    suites = [_pinned(suite, recipe_path) if suite.program else suite for suite in recipe.evaluation.suites]
    return recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update={"suites": suites})})


def program_verdicts(judged: JudgedAnswers, recorded: Verdicts, say: Say) -> dict[str, JudgeVerdict]:
    """Returns the scores of a suite's program for two models' answers.

    Args:
        judged: the answers.
        recorded: verdicts stored with a version.
        say: called with progress.

    Raises:
        KitError: the program is not on this machine, fails, takes too long, or gives no number from 0 to 1.
    """
    suite, program = judged.suite, judged.suite.program
    assert program
    found = known_verdicts(judged, recorded)
    missing = [request for request in judged.requests() if request.key not in found]
    if missing:
        say(f"{suite.name}: {program.file} scores {len(missing)} answers, {len(found)} known already")
        for request, score in zip(missing, _scores(suite, program, missing, say), strict=True):
            found[request.key] = JudgeVerdict(score=score)
            keep_verdict(request, found[request.key])
    return found


def _pinned(suite: Suite, recipe_path: Path) -> Suite:
    assert suite.program
    path, where = recipe_path.parent / suite.program.file, f"{recipe_path}: suite {suite.name}: program.file"
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise NotFoundError(
            f"{path} is not a file of at most 1 MiB", where=where, fix="name a Python file with `score`"
        )
    content = path.read_bytes()
    sha256 = sha256_bytes(content)
    if suite.program.sha256 not in ("", sha256):
        raise KitError(f"{path} is sha256:{sha256}", where=where, fix="remove `sha256`, or restore that file")
    kept = _file(sha256)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, content.decode(errors="replace"))
    return suite.model_copy(update={"program": suite.program.model_copy(update={"sha256": sha256})})


def _file(sha256: str) -> Path:
    return cache_dir() / "programs" / f"{sha256}.py"


def _scores(suite: Suite, program: ScoreProgram, requests: list[JudgeRequest], say: Say) -> list[float]:
    kept, where = _file(program.sha256), f"suite {suite.name}: program {program.file}"
    if not kept.is_file() or sha256_bytes(kept.read_bytes()) != program.sha256:
        raise NotFoundError(
            f"sha256:{program.sha256} was never read on this machine",
            where=where,
            fix="`llmops train RECIPE`, with the recipe and the file, continues the run; `llmops evaluate` takes "
            "`--recipe RECIPE`",
        )
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        given, out = work / "given", work / "out"
        given.mkdir(mode=0o755)
        out.mkdir(mode=0o755)
        shutil.copyfile(kept, given / "program.py")
        shutil.copyfile(Path(__file__).with_name(_DRIVER), given / _DRIVER)
        (given / "rows.jsonl").write_text("".join(json.dumps(request.body) + "\n" for request in requests))
        for path in given.iterdir():
            path.chmod(0o644)
        code, said = _run(given, out, work, program.minutes, say)
        if code:
            last = f": {said[-1][:500]}" if said else ""
            how = (
                f"took longer than {program.minutes} minutes" if code == -signal.SIGALRM else f"ended with {code}{last}"
            )
            raise KitError(how, where=where, fix="call `score` with a row of `prompt`, `answer`, `reference`, …")
        return _read(out / "scores.json", len(requests), where)


def _run(given: Path, out: Path, work: Path, minutes: int, say: Say) -> tuple[int, list[str]]:
    """Runs the program so that it can read its rows and write its scores, but reach no other files and no network.

    Returns:
        Its exit code (-SIGALRM: it took too long and was killed), and the lines that it printed.
    """
    python = Path(sys.executable)
    user = confinement.free_user(str(work), ()) if os.geteuid() == 0 else 0
    user = user if user and confinement.give([out], user) else 0
    program = confinement.ConfinedProgram(
        argv=[str(python), "-I", *(str(given / name) for name in (_DRIVER, "program.py", "rows.jsonl")),
              str(out / "scores.json")],
        environ={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(out), "TMPDIR": str(out)},
        cwd=out,
        inputs=[given],
        read=confinement.interpreter_folders(python),
        write=[out],
        hidden=[Path.home()],
    )  # fmt: skip
    way = confinement.find_way(program, python, user, work / "run.json")
    if not way.keeps_secrets:
        say(
            "warning: the program runs as you, and can read what you can: "
            f"this machine can't confine it ({way.why_not})"
        )
    with (work / "log").open("w+b") as log:
        process = confinement.start(program, way, work / "run.json", log)
        try:
            code = process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            confinement.end_all(user)
        log.seek(0)
        return code, log.read(_MOST_BYTES).decode(errors="replace").strip().splitlines()


def _read(path: Path, count: int, where: str) -> list[float]:
    """Returns the scores of an ended program: one per row, from 0 to 1."""
    fix = "return a number from 0 to 1 from `score`"
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_BYTES + count * _BYTES_A_SCORE:
        raise KitError("left no scores", where=where, fix=fix)
    try:
        scores = _SCORES.validate_json(path.read_bytes())
    except ValidationError as e:
        raise KitError("gave something that is not a finite number", where=where, fix=fix) from e
    if len(scores) != count:
        raise KitError(f"gave {len(scores)} scores for {count} rows", where=where, fix=fix)
    for number, score in enumerate(scores, 1):
        if not 0 <= score <= 1:
            raise KitError(f"gave {score:g} for row {number} of {count}", where=where, fix=fix)
    return scores
