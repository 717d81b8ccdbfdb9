"""Projects driven as a user drives them: by `pulumi`, the real engine."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any


def finish(process: "subprocess.Popen[str]", seconds: float = 300) -> str:
    """Wait for a command of the engine; what it said. One that takes longer is ended with all that it started."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"{process.args} did not end in {seconds} s: {process.communicate()[0]}") from None


class PulumiProject:
    """A project in a folder, driven by the real engine, which PATH of `environ` has."""

    folder: Path
    name: str
    """Of its stack."""
    environ: dict[str, str]

    def pulumi(self, *arguments: str, refused: bool = False, **variables: str) -> str:
        """Run a command of the engine; its whole output. It must fail if, and only if, `refused`."""
        process = self.start(*arguments, **variables)
        text = finish(process)
        assert bool(process.returncode) == refused, f"pulumi {' '.join(arguments)}: {process.returncode}\n{text}"
        assert "Traceback" not in text, text
        return text

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        """Start a command of the engine in a process group of its own."""
        environ = {**self.environ, **variables}
        pulumi = shutil.which("pulumi", path=environ["PATH"])
        assert pulumi, f"no Pulumi engine on PATH: {environ['PATH']}"
        return subprocess.Popen(
            [pulumi, *arguments, "--stack", self.name, "--non-interactive"],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def state(self) -> str:
        """The exported state, as text."""
        return self.pulumi("stack", "export")

    def steps(self, *arguments: str) -> list[dict[str, Any]]:
        """The steps that `pulumi preview` shows."""
        text = self.pulumi("preview", "--json", *arguments)
        return json.loads(text[text.index("{") :])["steps"]

    def operations(self, *arguments: str) -> dict[str, str]:
        """What `pulumi preview` would do: logical name -> operation; no component, and nothing that stays the same."""
        steps = [s for s in self.steps(*arguments) if s["op"] not in ("same", "read", "refresh")]
        custom = [s for s in steps if (s.get("newState") or s["oldState"]).get("custom")]
        return {s["urn"].rpartition("::")[2]: s["op"] for s in custom}
