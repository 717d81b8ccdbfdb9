"""Plain `pulumi` on Python programs, with the engine that this machine has, through its language host."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from llmops_kit.cli.pulumi_engine.engine import ensure

PROVIDER = """\
import os
from pathlib import Path

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult


class FileProvider(ResourceProvider):
    serialize_as_secret_always = False

    def __reduce__(self):
        from llmops_kit.infra.providers import provider
        return provider, ("test/file",)

    def create(self, props):
        Path(props["path"]).write_text(props["text"])
        print("created by", os.environ["PULUMI_PROJECT"])
        return CreateResult(props["path"], {**props, "size": len(props["text"])})

    def diff(self, id, olds, news):
        return DiffResult(changes=olds["text"] != news["text"])

    def update(self, id, olds, news):
        Path(id).write_text(news["text"])
        return UpdateResult({**news, "size": len(news["text"])})

    def read(self, id, props):
        text = Path(id).read_text() if Path(id).exists() else ""
        return ReadResult(id, {**props, "text": text, "size": len(text)})

    def delete(self, id, props):
        Path(id).unlink()


class File(Resource):
    size: object

    def __init__(self, name, path, text):
        super().__init__(FileProvider(), name, {"path": path, "text": text, "size": None})
"""


RELEASED = """\
RELEASED = {"test/file"}

def provider(name):
    from llmops_kit.infra.files import FileProvider
    return FileProvider()
"""


class Project:
    """A folder with a program and a stack `dev`, and a folder for temporary files that tells its processes apart."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self.engine = ensure()
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        (folder / "state").mkdir()
        (folder / "program").mkdir()
        venv = Path(sys.prefix)
        (folder / "Pulumi.yaml").write_text(
            f"name: one\nmain: program\nruntime: {{name: python, options: {{toolchain: pip, virtualenv: {venv}}}}}\n"
        )
        # The kit's own engine takes dynamic providers of released names alone, which a module of this name has.
        (folder / "program/llmops_kit/infra").mkdir(parents=True)
        (folder / "program/llmops_kit/infra" / "__init__.py").touch()
        (folder / "program/llmops_kit/infra" / "files.py").write_text(PROVIDER)
        (folder / "program/llmops_kit/infra" / "providers.py").write_text(RELEASED)
        self.write(program)
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(self.temporary),
            "PULUMI_BACKEND_URL": f"file://{folder}/state?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.engine.env,
        }
        self.pulumi("stack", "init", "dev")

    def write(self, program: str) -> None:
        (self.folder / "program" / "__main__.py").write_text(program)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [str(self.engine.pulumi), *arguments, "--non-interactive", "--color", "never"]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=120)
        assert (process.returncode != 0) == fails, output
        return output

    def processes(self) -> list[str]:
        """What still runs of this project."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR") == str(self.temporary) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found

    def wait_for_no_process(self) -> None:
        deadline = time.monotonic() + 120
        while self.processes():
            assert time.monotonic() < deadline, self.processes()
            time.sleep(0.1)


def test_the_life_of_a_dynamic_resource_until_the_program_is_empty(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    program = "import pulumi\nfrom llmops_kit.infra.files import File\n"
    program += "f = File('f', {path!r}, {text!r})\npulumi.export('size', f.size)\n"
    project = Project(tmp_path, program.format(path=str(target), text="one"))

    assert "+ 2 to create" in project.pulumi("preview")
    assert not target.exists()
    made = project.pulumi("up", "--yes")
    assert "+ 2 created" in made
    assert "created by one" in made  # what a provider prints is shown
    assert target.read_text() == "one"
    assert project.pulumi("stack", "output", "size").strip() == "3"

    project.write(program.format(path=str(target), text="three"))
    assert "~ 1 to update" in project.pulumi("preview")
    project.pulumi("up", "--yes")
    assert target.read_text() == "three"
    project.pulumi("preview", "--expect-no-changes")

    target.write_text("drifted")
    assert "~ 1 updated" in project.pulumi("refresh", "--yes")
    project.pulumi("up", "--yes")
    assert target.read_text() == "three"

    project.write("")
    assert "- 1 deleted" in project.pulumi("up", "--yes")
    assert not target.exists()
    project.pulumi("preview", "--expect-no-changes")
    assert "- 1 deleted" in project.pulumi("destroy", "--yes")
    project.wait_for_no_process()


def test_a_program_reads_config_and_its_folder(tmp_path: Path) -> None:
    project = Project(
        tmp_path, "import os, pulumi\npulumi.export('seen', [pulumi.Config().require('word'), os.getcwd()])\n"
    )
    project.pulumi("config", "set", "word", "hello")
    project.pulumi("up", "--yes")
    seen = project.pulumi("stack", "output", "seen")
    assert "hello" in seen
    assert str(tmp_path / "program") in seen


def test_a_run_error_is_a_message_without_traceback(tmp_path: Path) -> None:
    project = Project(tmp_path, "import pulumi\nraise pulumi.RunError('llmops:target: no such target')\n")
    output = project.pulumi("preview", fails=True)
    assert output.count("error: llmops:target: no such target") == 2, output  # where it happens, and in the summary
    assert "unhandled" not in output
    assert "Traceback" not in output


def test_another_error_shows_the_programs_own_traceback(tmp_path: Path) -> None:
    project = Project(tmp_path, "def deep():\n    return 1 / 0\n\n\ndeep()\n")
    output = project.pulumi("preview", fails=True)
    assert "ZeroDivisionError" in output
    assert 'program/__main__.py", line 2, in deep' in output
    assert "runpy" not in output


def test_an_error_of_a_provider_fails_the_update_and_names_it(tmp_path: Path) -> None:
    project = Project(
        tmp_path, f"from llmops_kit.infra.files import File\nFile('f', '{tmp_path}/no/such/folder/f', 'x')\n"
    )
    output = project.pulumi("up", "--yes", fails=True)
    assert "FileNotFoundError" in output
    project.wait_for_no_process()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_engine_leaves_no_process(tmp_path: Path, number: int) -> None:
    started = tmp_path / "started"
    project = Project(tmp_path, f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(600)\n")
    process = project.start("preview")
    deadline = time.monotonic() + 120
    while not started.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    project.wait_for_no_process()
