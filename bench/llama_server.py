"""Our server against llama.cpp's over HTTP: `python -m bench.llama_server LLAMA_CPP [--rounds 5] [--precision f32]`.

The same weights in the same precision and the same prompts, greedy, at 1, 8 and 16 streams, in turns within one run;
both keep the prefixes of prompts, as llama-server does by default. A ratio is the median over the rounds' ratios.
LLAMA_CPP is llama.cpp's source folder with `build/bin/llama-server`. PyPI's llama-cpp-python has the source:

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
    tar xzf llama_cpp_python-0.3.36.tar.gz && cd llama_cpp_python-0.3.36/vendor/llama.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_OPENSSL=OFF -DLLAMA_USE_PREBUILT_UI=OFF
    cmake --build build --target llama-server

Not a part of `make bench`, because the build takes minutes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.serving import STREAMS, Client, prompts_for
from hosting.ports import choose_port
from tests.support.servers.serving import API_KEY, ServingProcess, sign_version
from tests.support.tiny_models.models import BASE_ALIAS, base_model, copy_model

_CONTEXT = 1024
"""Tokens of a prompt and its answer together."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="llama.cpp's source folder with build/bin/llama-server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-llama-") as name:
        folder = Path(name)
        version = copy_model(base_model(), folder / "model")
        sign_version(version, folder)
        weights = _gguf(options.source, version, folder / "model.gguf", options.precision)
        with _ours(version, folder, options.precision) as ours, _llama(options.source, weights) as theirs:
            compare(ours, theirs, options.rounds, ("ours", "llama"))
            print(f"resident memory, MB: ours {ours.resident():.0f}, llama-server {theirs.resident():.0f}")


def compare(ours: "BenchedServer", theirs: "BenchedServer", rounds: int, names: tuple[str, str]) -> None:
    """Prints tokens per second of two servers, and their ratio, at each number of streams.

    Args:
        ours: the one server.
        theirs: the other.
        rounds: measured ones; one more warms up.
        names: of the servers, in the table's head.
    """
    texts = prompts_for(max(STREAMS))
    print(f"{'':12} {'tokens/s':>27}   {'tokens a processor second':>27}")
    print(f"{'':12} {names[0]:>9} {names[1]:>9} {'ratio':>7}   {names[0]:>9} {names[1]:>9} {'ratio':>7}")
    for streams in STREAMS:
        rows: list[tuple[float, float, float, float]] = []
        for turn in range(rounds + 1):  # the first is for warming up
            order = (ours, theirs) if turn % 2 else (theirs, ours)
            figures = {server.pid: server.measured(texts[:streams]) for server in order}
            if turn:
                rows.append((*figures[ours.pid], *figures[theirs.pid]))
        shown = ""
        for first in (0, 1):
            mine, other = (statistics.median(row[place] for row in rows) for place in (first, first + 2))
            ratio = statistics.median(row[first] / row[first + 2] for row in rows)
            shown += f" {mine:9.1f} {other:9.1f} {ratio:7.2f}  "
        print(f"{f'{streams} streams':12}{shown.rstrip()}", flush=True)


class BenchedServer:
    """A running server, and a client of it."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._client = Client(("127.0.0.1", port), "/v1/chat/completions", f"Bearer {API_KEY}")

    def measured(self, texts: list[str]) -> tuple[float, float]:
        """Returns tokens per second, and per second of its processes' time, of streams that start together."""
        before = self._processor_seconds()
        wave = self._client.wave(texts)
        return wave.speed, wave.tokens / (self._processor_seconds() - before)

    def resident(self) -> float:
        """Returns its processes' resident memory, in MB."""
        return sum(each.memory_info().rss for each in self._processes()) / 1e6

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]

    def _processor_seconds(self) -> float:
        return sum(sum(each.cpu_times()[:2]) for each in self._processes())


def _gguf(source: Path, version: Path, target: Path, precision: str) -> Path:
    """Writes the weights as GGUF, with llama.cpp's own converter, which imports sentencepiece for every Llama."""
    more = target.parent / "converter"
    install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(more), "sentencepiece"], check=True)
    command = [sys.executable, str(source / "convert_hf_to_gguf.py"), str(version)]
    command += ["--outtype", precision, "--outfile", str(target)]
    environment = os.environ | {"PYTHONPATH": str(more)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return target


@contextmanager
def _ours(version: Path, folder: Path, precision: str) -> Iterator[BenchedServer]:
    named = {"LLMOPS_MODEL_NAME": BASE_ALIAS, "LLMOPS_PRECISION": precision, "LLMOPS_PREFIX_CACHE": "true"}
    server = ServingProcess(version, folder, folder, **named)
    try:
        server.wait_ready()
        yield BenchedServer(server.process.pid, server.port)
    finally:
        server.kill()


@contextmanager
def _llama(source: Path, weights: Path) -> Iterator[BenchedServer]:
    port, most = choose_port("127.0.0.1"), max(STREAMS)
    command = [str(source / "build" / "bin" / "llama-server"), "-m", str(weights), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--parallel", str(most), "-c", str(most * _CONTEXT), "-t", str(os.cpu_count())]
    with (weights.parent / "llama.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            while not healthy(port):
                if process.poll() is not None:
                    raise SystemExit((weights.parent / "llama.log").read_text()[-2000:])
                time.sleep(0.1)
            yield BenchedServer(process.pid, port)
        finally:
            process.kill()


def healthy(port: int) -> bool:
    """Returns whether a server on this machine says that it is healthy."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
            return answer.status == 200
    except (TimeoutError, urllib.error.URLError, ConnectionError):
        return False


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    main()
