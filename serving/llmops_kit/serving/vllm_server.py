"""Starts vLLM's server and stays its parent: `python -m llmops_kit.serving serve` in the image serving-vllm.

The version is verified first. vLLM then reads the files through the handles by which they were verified, serves the
network itself, and has the kit's front as its outermost middleware, so that tokens pass through no other process. This
process listens from the start, and answers until vLLM accepts connections from the same socket. SIGTERM makes the front
unready, which lets answers end and then ends vLLM; this process ends with vLLM.
"""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmops_kit.core.documents.model import EmbeddingForm, ModelManifest
from llmops_kit.core.errors import ServingError
from llmops_kit.core.integrity.verified_model import VerifiedVersion
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.models.gpus import MEMORY_SHARE, usable_gpus
from llmops_kit.core.names import require_name
from llmops_kit.serving.engines.vllm_gpus import choose_gpus
from llmops_kit.serving.front.protocol import KEEPALIVE_SECONDS, bind
from llmops_kit.serving.front.readiness import Readiness
from llmops_kit.serving.loading import LoadingServer
from llmops_kit.serving.log import say
from llmops_kit.serving.server_settings import ServerSettings

_FRONT = "llmops_kit.serving.front.Front"
_TOOL_PARSERS = {"<tool_call>": "hermes", "<|python_tag|>": "llama3_json"}
"""Markup in the model's chat template -> vLLM's name of the parser of its tool calls."""
_READ = (".safetensors", ".json", ".jinja", ".txt", ".model")
_KEPT_LINES = 40
_BACKLOG = 1024
_STARTING = "starting vLLM"
_PROGRESS_PHASES = {
    "Loading safetensors checkpoint shards": "loading weights",
    "Capturing CUDA graphs": "capturing graphs",
}
"""Start of a vLLM progress bar -> phase (model_loader/weight_utils.py, v1/worker/gpu/cudagraph_utils.py)."""
_PROGRESS = re.compile(rf"({'|'.join(_PROGRESS_PHASES)})[^:]*:\s*(\d+)%")
_PAUSE_SECONDS = 0.2
_TEARDOWN_SECONDS = 4.0
"""Time after vLLM's own limit for its answers: SageMaker kills 30 s after SIGTERM, of which 2 + 25 have passed by then.
"""
# Variables that are passed on to vLLM's process. Others, of vLLM and of the SageMaker library in it, could name code to
# run, routes to open or servers to call.
_PASSED = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "AZUREML_MODEL_DIR", "OMP_NUM_THREADS", "CC",
           "SAGEMAKER_BIND_TO_PORT", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_KVCACHE_SPACE")  # fmt: skip
_PASSED_PREFIXES = ("LLMOPS_", "PYTHON", "CUDA_", "NVIDIA_", "NCCL_")


def run(settings: ServerSettings) -> int:
    """Serves until SIGTERM; returns the exit code.

    Raises:
        KitError: the version is not what was signed, the start failed, or vLLM ended by itself (with its last message).
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with bind(settings.host, settings.port) as sock:
        sock.listen(_BACKLOG)
        host, port = sock.getsockname()[:2]
        say(f"listening on {host}:{port}")
        settings, readiness = replace(settings, port=port), Readiness()
        with closing(LoadingServer(settings, sock, readiness)) as loading:
            return _serve(settings, sock, readiness, loading, stop)


def _serve(
    settings: ServerSettings, sock: socket.socket, readiness: Readiness, loading: LoadingServer, stop: threading.Event
) -> int:
    done = 0.0

    def report(read: int, total: int) -> None:
        nonlocal done
        done = read / total if total else 1.0

    say("verifying")
    readiness.enter("verifying", lambda: done)
    with closing(VerifiedVersion.open(settings.model, settings.public_key, settings.identity, report)) as version:
        manifest = version.manifest
        require_name(settings.name or manifest.name, manifest.name, str(settings.model / MANIFEST))
        if "transformers" not in manifest.engines:
            raise ServingError(
                "has no safetensors that vLLM could read", where=f"{settings.model / MANIFEST}: engines",
                fix="package it again, or serve it with another `engine`",
            )  # fmt: skip
        with _folder(version) as folder, _start(settings, version, folder, sock, readiness) as server:
            return _VllmLife(settings, version, server, loading).run(stop)


def command(
    settings: ServerSettings, manifest: ModelManifest, folder: Path, template: str, *, gpus: int = 1
) -> list[str]:
    """Returns the arguments of vLLM's server.

    Args:
        settings: the server's settings.
        manifest: the version's manifest.
        folder: contains the version's files.
        template: the model's chat template, which determines the form of its tool calls.
        gpus: the number of GPUs that compute together; 0: it runs on processors.
    """
    limits = settings.limits
    name = settings.name or manifest.name
    dtype = {"auto": "auto", "f32": "float32", "bf16": "bfloat16"}[settings.engine_settings.precision]
    parsers = () if manifest.embedding else _TOOL_PARSERS.items()
    parser = next((parser for word, parser in parsers if word in template), "")
    arguments = {
        "model": str(folder),
        "served-model-name": name,  # the front also accepts the model's other names, and passes this one on
        "host": settings.host,
        "port": str(settings.port),
        "middleware": _FRONT,
        "dtype": dtype,
        "load-format": "safetensors",
        "max-model-len": "auto",  # the model's own, or as much as fits on the GPU
        "gpu-memory-utilization": str(MEMORY_SHARE),
        "tensor-parallel-size": str(gpus or 1),
        "max-num-seqs": str(limits.max_running),
        "max-num-queued-reqs": str(limits.max_running + limits.max_queue),  # vLLM counts running ones too
        "shutdown-timeout": str(max(1, int(settings.drain_seconds))),
        "generation-config": "vllm",  # defaults come from the version's manifest, not from generation_config.json
        "override-generation-config": json.dumps({"temperature": manifest.serving.temperature}),
        "uvicorn-log-level": "warning",
        # vLLM's default, but stated: its other algorithms can be forged
        **({"prefix-caching-hash-algo": "sha256"} if settings.engine_settings.prefix_cache else {}),
        **({"tool-call-parser": parser} if parser else {}),
        **(_pooling(manifest.embedding) if manifest.embedding else {}),
    }
    flags = [
        "--disable-fastapi-docs",
        "--disable-uvicorn-access-log",
        "--no-trust-remote-code",
        "--exclude-tools-when-tool-choice-none",
    ]
    flags += ["--enable-auto-tool-choice"] if parser else []
    # By default vLLM turns it on for models that support it.
    flags += [] if settings.engine_settings.prefix_cache else ["--no-enable-prefix-caching"]
    # Compiling for processors takes minutes, and only tests run vLLM on them.
    flags += [] if gpus else ["--enforce-eager"]
    return [*(word for key, value in arguments.items() for word in (f"--{key}", value)), *flags]


def _pooling(form: EmbeddingForm) -> dict[str, str]:
    """Returns vLLM's arguments for an embedding model, with the manifest's pooling. If a folder of the model is
    missing, vLLM would use the architecture's default pooling, such as BERT's first token.
    """
    pooler = {"seq_pooling_type": form.pooling.upper(), "use_activation": form.normalize}
    return {"runner": "pooling", "pooler-config": json.dumps(pooler), "max-model-len": str(form.max_tokens)}


def environment(environ: Mapping[str, str], phase_fd: int, empty: Path) -> dict[str, str]:
    """Returns the complete environment of vLLM's process.

    Args:
        environ: this process's.
        phase_fd: file descriptor from which the front reads the phase.
        empty: an empty folder, given as the model's to `model-hosting-container-standards`, which would execute a
            model.py in it.
    """
    passed = {k: v for k, v in environ.items() if k in _PASSED or k.startswith(_PASSED_PREFIXES)}
    return passed | {
        "LLMOPS_PHASE_FD": str(phase_fd),
        "SAGEMAKER_MODEL_PATH": str(empty),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_PLUGINS": "",
        # nvcc would compile FlashInfer's sampler on its first use; the image has only a C compiler.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEPALIVE_SECONDS),
    }


@dataclass
class _VllmProcess:
    """vLLM's process, its last output, and the socket to its front."""

    process: subprocess.Popen[str]
    phases: socket.socket
    readiness: Readiness
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    reader: threading.Thread | None = None
    received: str = ""

    def tell(self, phase: str) -> None:
        """Sends a phase to the front, which reads it only once vLLM serves."""
        with suppress(OSError):
            self.phases.sendall(f"{phase}\n".encode())

    def told(self, seconds: float) -> list[str]:
        """Returns the phases that the front reports within a time."""
        if not select.select([self.phases], [], [], seconds)[0]:
            return []
        with suppress(OSError):
            self.received += self.phases.recv(4096).decode(errors="replace")
        *lines, self.received = self.received.split("\n")
        return lines

    def note(self, line: str) -> None:
        """Keeps a line of the output, and reports the progress in it, if any."""
        self.lines.append(line)
        if found := _PROGRESS.search(line):
            share = int(found[2]) / 100
            if share < 1:
                self.readiness.enter(_PROGRESS_PHASES[found[1]], lambda: share)
            else:
                self.readiness.enter(_STARTING)  # the next phase reports no progress

    def last_words(self) -> str:
        """Returns the reason why it ended: its last line that names an error, or its last line."""
        if self.reader:
            self.reader.join(_TEARDOWN_SECONDS)
        kept = [line.strip() for line in self.lines if line.strip()]
        errors = [line for line in kept if "Error" in line]
        return (errors or kept or ["without output"])[-1][-500:]


class _VllmLife:
    """The lifecycle of vLLM's process."""

    def __init__(
        self, settings: ServerSettings, version: VerifiedVersion, child: _VllmProcess, loading: LoadingServer
    ) -> None:
        self._settings = settings
        self._version = version
        self._child = child
        self._loading = loading

    def run(self, stop: threading.Event) -> int:
        process = self._child.process
        begun, serves, ready = time.perf_counter(), False, False
        self._enter(_STARTING)
        while not stop.is_set():
            if process.poll() is not None:
                raise ServingError(
                    f"vLLM ended with code {process.returncode}: {self._child.last_words()}", where="engine",
                    fix="see the lines above; a larger GPU, or a shorter context, if it ran out of memory",
                )  # fmt: skip
            for phase in self._child.told(_PAUSE_SECONDS):
                serves = True
                self._loading.close()  # vLLM accepts connections now
                if phase == "failed":
                    raise ServingError("the golden prompts failed", where="engine", fix="see the lines above")
                if phase == "ready":
                    ready = True
                    self._version.require_unchanged()
                    say(f"ready after {time.perf_counter() - begun:.2f} s")
        self._end(serves, ready)
        return 0

    def _enter(self, phase: str) -> None:
        self._child.readiness.enter(phase)
        say(phase)

    def _end(self, serves: bool, ready: bool) -> None:
        """Shuts down: unready at once, rejects requests after the lame duck time, lets answers end, and cuts off the
        rest. If vLLM serves, the front does this.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # another signal must not cut the shutdown short
        self._enter("stopping")
        self._child.tell("stopping")
        if ready:
            time.sleep(self._settings.lame_duck_seconds)
        self._child.tell("draining")
        if not serves:
            self._child.process.terminate()
        try:
            self._child.process.wait(self._settings.drain_seconds + _TEARDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            say("vLLM did not end in time, and is killed")
        self._enter("stopped")


@contextmanager
def _folder(version: VerifiedVersion) -> Iterator[Path]:
    """Yields a folder whose names link to this process's handles, through which the files were verified; it contains no
    code.
    """
    root = Path(tempfile.mkdtemp(prefix="llmops-vllm-"))
    try:
        for kind in ("model", "empty"):
            (root / kind).mkdir()
        for name, handle in version.handles.items():
            if "/" not in name and name.endswith(_READ):
                (root / "model" / name).symlink_to(f"/proc/{os.getpid()}/fd/{handle}")
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _start(
    settings: ServerSettings, version: VerifiedVersion, folder: Path, sock: socket.socket, readiness: Readiness
) -> Iterator[_VllmProcess]:
    """Yields vLLM's process; kills the rest of its process group after the block."""
    template = (version.read("chat_template.jinja") or version.read("tokenizer_config.json") or b"").decode()
    gpus = 0
    if usable_gpus(os.environ):
        files = version.manifest.files.items()
        stored = sum(file.size for name, file in files if "/" not in name and name.endswith(".safetensors"))
        chosen = choose_gpus(version.read("config.json"), stored, settings.engine_settings.precision, os.environ)
        gpus = chosen.gpus
        say(f"GPUs {gpus}: {chosen.why}")
    arguments = command(settings, version.manifest, folder / "model", template, gpus=gpus)
    phases, child_end = socket.socketpair()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "llmops_kit.serving.front.vllm_child",
            str(os.getpid()),
            str(sock.fileno()),
            *arguments,
        ],
        env=environment(os.environ, child_end.fileno(), folder / "empty"),
        pass_fds=[child_end.fileno(), sock.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=None,  # the front's lines of JSON
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C would reach the whole group, but this process decides when vLLM ends
    )
    child_end.close()
    child = _VllmProcess(process, phases, readiness)
    child.reader = threading.Thread(target=_pass_on, args=(child,), daemon=True)
    child.reader.start()
    say(f"vLLM is process {process.pid}")
    try:
        yield child
    finally:
        phases.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _pass_on(child: _VllmProcess) -> None:
    assert child.process.stderr
    for line in child.process.stderr:
        child.note(line)
        sys.stderr.write(line)
        sys.stderr.flush()
