"""The command line as a user meets it: real processes."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from llmops_kit.cli.cli import app
from llmops_kit.cli.commands import print_error
from llmops_kit.cli.commands.machine import print_findings
from llmops_kit.cli.doctor import Diagnosis
from llmops_kit.cli.former_commands import FORMER
from llmops_kit.core.errors import EXIT_CODES, KitError, NotFoundError, RefusedError, SignatureError


class Answer(NamedTuple):
    """What a command said."""

    returncode: int
    stdout: str
    stderr: str


Llmops = Callable[..., Answer]

VERBS = """train, runs list, runs show, runs follow, runs stop, runs collect, models import, models list, models show,
models verify, models copy, models clear, promote, rollback, plan, up, down, images build, images push, images
base, chat, invoke, status, logs, export sagemaker, twin aws up, twin aws status, twin aws down,
twin aws reset, twin aws env, bootstrap aws, plan prices show, plan prices refresh, doctor, schema""".replace("\n", " ")

# Imports the command line once and forks a process for each command: starting Python 40 times takes too long.
_FORKS = """
import json, os, pkgutil, sys
import llmops_kit.cli.commands
for module in pkgutil.iter_modules(llmops_kit.cli.commands.__path__, "llmops_kit.cli.commands."):
    __import__(module.name)
import llmops_kit.cli.cli, llmops_kit.cli.doctor, llmops_kit.cli.platforms.aws.doctor, llmops_kit.cli.runs.runs
import llmops_kit.cli.stacks.stack, typer.rich_utils
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        for number, name in enumerate(("/dev/null", *order["files"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        os.environ.clear()
        os.environ.update(order["environ"])
        os.chdir(order["cwd"])
        sys.argv = ["llmops", *order["arguments"]]
        try:
            llmops_kit.cli.cli.main()
        except SystemExit as e:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(e.code or 0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def llmops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llmops]:
    """Run a command as a process of its own."""
    folder = tmp_path_factory.mktemp("commands")
    files = [folder / "out", folder / "err"]
    with subprocess.Popen(
        [sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as forks:

        def run(*arguments: str, cwd: Path = folder, **environ: str) -> Answer:
            env = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "120"} | environ
            order = {"arguments": arguments, "cwd": str(cwd), "environ": env, "files": [str(f) for f in files]}
            assert forks.stdin
            assert forks.stdout
            forks.stdin.write(json.dumps(order) + "\n")
            forks.stdin.flush()
            code = int(forks.stdout.readline())
            return Answer(code, *(f.read_text() for f in files))

        yield run


def test_every_verb_teaches_itself_and_takes_a_stack(llmops: Llmops) -> None:
    for words in VERBS.split(", "):
        answer = llmops(*words.split(), "--help")
        assert answer.returncode == 0, answer.stderr
        assert "--stack" in answer.stdout
        assert "[[" not in answer.stdout
        arguments = answer.stdout.partition("─ Arguments")[2].partition("─ Options")[0]
        for line in re.findall(r"│ (?:\*| ) {1,3}(\w.*?) *│", arguments):
            assert len(line.split()) > 4, f"{words}: an argument has no help: {line}"


def test_start_up_imports_nothing_heavy() -> None:
    """`--help` loads neither documents nor engines; status needs no pulumi."""
    code = "import sys, llmops_kit.cli.cli; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    light = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"pydantic", "ruamel", "cryptography", "pulumi", "aiohttp", "psutil", "torch", "boto3", "botocore", "moto"}
    assert heavy.isdisjoint(light)
    code = (
        "import sys, llmops_kit.cli.stacks.stack, llmops_kit.cli.platforms.local.platform;"
        "import llmops_kit.cli.platforms.aws.platform;"
        "import llmops_kit.cli.pulumi_engine.engine, llmops_kit.local_runtime.host;"
        "print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    status = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [m for m in status if m.startswith("pulumi")]


BEGIN = "change into the project's folder, or give it with --cwd; to begin, `llmops init`"


def test_errors_say_what_where_and_the_way_out_without_a_traceback(llmops: Llmops, tmp_path: Path) -> None:
    answer = llmops("status", cwd=tmp_path)
    assert answer.returncode == 4
    assert answer.stdout == ""
    assert answer.stderr.splitlines() == [
        "error: no Pulumi.yaml here or in a folder above",
        f"  where: {tmp_path}",
        f"  fix: {BEGIN}",
    ]


def test_errors_come_as_json_where_results_would(llmops: Llmops, tmp_path: Path) -> None:
    answer = llmops("status", "--json", cwd=tmp_path)
    assert answer.returncode == 4
    assert answer.stderr == ""
    assert json.loads(answer.stdout) == {
        "error": {
            "what": "no Pulumi.yaml here or in a folder above",
            "where": str(tmp_path),
            "fix": BEGIN,
        }
    }


def test_an_error_whose_reader_has_ended_shows_no_traceback(tmp_path: Path) -> None:
    """As in `llmops status --json | head -n 1`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "llmops_kit.cli", "status", "--json"]
    ended = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (4, "")


_WITHOUT_JSON = {
    "chat",
    "export sagemaker",
    "images base",
    "rehearse",
    "smoke",
    "twin aws serve",
    "twin azure serve",
}


def _verbs(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Each verb, and its options."""
    for name, verb in command.commands.items():
        if " ".join((*words, name)) in FORMER:
            continue
        if hasattr(verb, "commands"):
            yield from _verbs(verb, (*words, name))
        else:
            yield " ".join((*words, name)), {opt for parameter in verb.params for opt in parameter.opts}


def test_every_verb_with_a_result_takes_json() -> None:
    assert {verb for verb, takes in _verbs(typer.main.get_command(app)) if "--json" not in takes} == _WITHOUT_JSON


def test_every_verb_that_changes_an_account_takes_yes() -> None:
    """As `pulumi up`, `destroy` and `refresh` do, so that a script passes it to each of them."""
    verbs = dict(_verbs(typer.main.get_command(app)))
    for verb in ("up", "down", "bootstrap aws", "bootstrap azure", "smoke"):
        assert {"--yes", "-y"} <= verbs[verb], verb


def test_with_json_progress_of_child_processes_goes_to_standard_error() -> None:
    code = """
import os
from llmops_kit.cli.commands import progress_on_stderr
for as_json in (True, False):
    with progress_on_stderr(as_json):
        print("step", flush=True)
        os.system("echo child")
    print(as_json, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\nstep\nchild\nFalse\n", "step\nchild\n")


def test_every_kind_of_error_has_an_exit_code_that_the_reference_lists() -> None:
    kinds = [KitError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {kind.exit_code for kind in kinds} <= EXIT_CODES.keys()
    assert {kind.__name__: kind.exit_code for kind in (RefusedError, NotFoundError, SignatureError)} == {
        "RefusedError": 3,
        "NotFoundError": 4,
        "SignatureError": 5,
    }


def test_colours_only_on_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def printed() -> str:
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        print_error(KitError("no", fix="yes"))
        return terminal.getvalue()

    monkeypatch.setenv("NO_COLOR", "")
    assert "\033[" in printed()
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed() == "error: no\n  fix: yes\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "give a recipe, or --resume RUN"),
        (["nope"], "No such command"),
        (["promote"], "Missing argument"),
        (["train", "a.yaml", "--what"], "No such option"),
    ],
)
def test_a_command_that_can_not_be_understood_ends_with_2(
    llmops: Llmops, tmp_path: Path, arguments: list[str], words: str
) -> None:
    answer = llmops(*arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr
    answer = llmops(*arguments, "--json", cwd=tmp_path)
    error = json.loads(answer.stdout)["error"]
    assert (answer.returncode, answer.stderr) == (2, "")
    assert words in error["what"]
    assert error["where"].startswith("llmops")
    assert f"{error['where']} --help" in error["fix"]


def test_an_unknown_target_is_named_with_those_that_there_are(llmops: Llmops, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    file = tmp_path / "Pulumi.dev.yaml"
    for target, meant in (("gcp", ""), ("azur", "did you mean azure? ")):
        file.write_text(f"config:\n  llmops:target: {target}\n")
        answer = llmops("status", cwd=tmp_path)
        assert answer.returncode == 2
        assert answer.stderr.splitlines() == [
            f"error: there is no target '{target}'",
            f"  where: {file}: llmops:target",
            f"  fix: {meant}write one of: local, aws, azure",
        ]


def test_a_name_that_is_close_to_a_known_one_is_suggested_once(llmops: Llmops, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (tmp_path / "Pulumi.staging.yaml").write_text("config:\n  llmops:target: local\n")
    asked = {
        ("promot",): "promote",
        ("models", "lst"): "list",
        ("status", "--stack", "stagng"): "staging",
    }
    for words, meant in asked.items():
        said = llmops(*words, cwd=tmp_path).stderr.lower()
        assert said.count("did you mean") == 1, said
        assert meant in said.partition("did you mean")[2]


@pytest.mark.parametrize("verb", [["up", "--yes"], ["up", "-y"], ["plan"]])
def test_a_project_without_a_program_is_refused_before_anything_is_made(
    llmops: Llmops, tmp_path: Path, verb: list[str]
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local\n")
    answer = llmops(*verb, cwd=tmp_path)
    assert answer.returncode == 4
    assert answer.stderr.splitlines() == [
        "error: the project has no program, which says what `up` deploys",
        f"  where: {tmp_path}/__main__.py",
        "  fix: write a program of two lines into it: `from llmops_kit.infra.__main__ import main` and `main()`",
    ]
    assert not (tmp_path / ".llmops").exists()


def test_which_stack_is_meant(llmops: Llmops, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    for stack in ("one", "two"):
        (tmp_path / f"Pulumi.{stack}.yaml").write_text("config: [\n")  # names its file in the error
    (tmp_path / "below").mkdir()

    def chosen(*arguments: str, **environ: str) -> str:
        return llmops(*arguments, cwd=tmp_path, LLMOPS_CACHE=str(tmp_path / "cache"), **environ).stderr

    assert "which stack? There are one, two" in chosen("status")
    assert "Pulumi.one.yaml:2" in chosen("status", PULUMI_STACK="one")
    assert "Pulumi.two.yaml:2" in chosen("status", "-s", "two", PULUMI_STACK="one")
    assert "Pulumi.two.yaml:2" in chosen("--stack", "two", "--cwd", "below", "status")
    assert "Pulumi.three.yaml" in chosen("models", "list", "--stack", "org/three")
    (tmp_path / "Pulumi.two.yaml").unlink()
    assert "Pulumi.one.yaml:2" in chosen("status")


def test_schema_is_json_and_unknown_documents_are_named(llmops: Llmops, tmp_path: Path) -> None:
    assert json.loads(llmops("schema", "recipe").stdout)["properties"]["schema"]["const"] == "recipe/2"
    assert {d["document"] for d in json.loads(llmops("schema", "--json").stdout)} >= {"recipe", "model", "run"}
    assert "there is no document 'nope'" in llmops("schema", "nope").stderr
    assert "did you mean recipe?" in llmops("schema", "recipes").stderr


def test_doctor_finds_what_is_here(llmops: Llmops, tmp_path: Path) -> None:
    answer = llmops("doctor", "--json", cwd=tmp_path, LLMOPS_CACHE=str(tmp_path / "cache"))
    rows = {r["check"]: r for r in json.loads(answer.stdout)}
    assert rows["python"]["state"] == "ok"
    assert rows["project"]["state"] == "note"
    assert rows["image training"]["found"] == "not built for this version of the kit"
    assert answer.returncode == int(any(r["state"] == "missing" for r in rows.values()))
    assert all(r["fix"] for r in rows.values() if r["state"] != "ok")


def test_doctor_prints_short_lines_whatever_the_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings(
        [Diagnosis("python", "ok", "3.12.3"), Diagnosis("docker", "note", "not installed", "not needed " * 9)]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["ok       python  3.12.3", "note     docker  not installed"]
    assert lines[2].strip() == f"fix: {'not needed ' * 9}".strip()
    assert max(map(len, lines)) < 130


def test_doctor_needs_what_the_chosen_stack_needs(llmops: Llmops, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    for stack, target in (("here", "local"), ("there", "aws")):
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(f"config:\n  llmops:target: {target}\n")

    def account(stack: str) -> str:
        answer = llmops("doctor", "--json", "--stack", stack, cwd=tmp_path, HOME=str(tmp_path), AWS_ACCESS_KEY_ID="")
        return next(row["state"] for row in json.loads(answer.stdout) if row["check"] == "aws account")

    assert (account("here"), account("there")) == ("note", "missing")
