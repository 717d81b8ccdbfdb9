"""Verifies a model version and makes the engine load it, on a thread, in parallel with the rest of startup."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

from llmops_kit.core.documents.model import EmbeddingForm, ModelManifest
from llmops_kit.core.engines.engine_settings import engine_fields
from llmops_kit.core.engines.records import EngineName
from llmops_kit.core.errors import ServingError
from llmops_kit.core.integrity.verified_model import Early, VerifiedVersion
from llmops_kit.core.layout import MANIFEST
from llmops_kit.core.names import require_name
from llmops_kit.serving.engine_choice import choose_engine, require_prefix_cache
from llmops_kit.serving.engines.engine import LoadOrder
from llmops_kit.serving.engines.spawn import WorkerProcess
from llmops_kit.serving.engines.wire import MOST_HANDLES, encode
from llmops_kit.serving.server_settings import ServerSettings


class BringUp:
    """Checks signature, identity and the hashes of the engine's files, then makes the engine load them while it checks
    the other files' hashes; starts on creation.
    """

    def __init__(self, settings: ServerSettings, worker: WorkerProcess) -> None:
        self.worker = worker
        self.progress = 0.0
        """Share of the version's bytes that is verified, 0 to 1."""
        pool = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self.verified: Future[VerifiedVersion] = pool.submit(_run, settings, worker, self._report)
        """Resolves once every file is verified. The engine loads its files from the handles that were verified."""
        pool.shutdown(wait=False)

    def _report(self, done: int, total: int) -> None:
        self.progress = done / total if total else 1.0


def _run(settings: ServerSettings, worker: WorkerProcess, report: Callable[[int, int], None]) -> VerifiedVersion:
    return VerifiedVersion.open(
        settings.model,
        settings.public_key,
        settings.identity,
        report,
        lambda manifest: _order(settings, worker, manifest),
    )


def load_order(
    settings: ServerSettings, engine: EngineName, names: Sequence[str], form: EmbeddingForm | None
) -> LoadOrder:
    """Returns the load order for the engine's process, with the engine's settings.

    Raises:
        ServingError: the engine does not support a setting.
    """
    chosen = settings.engine_settings
    if chosen.prefix_cache:
        require_prefix_cache(engine, bool(form))
    embedding = form.model_dump(include={"pooling", "normalize"}) if form else None
    return LoadOrder(engine, tuple(names), threads=settings.threads, embedding=embedding, **engine_fields(chosen))


def _order(settings: ServerSettings, worker: WorkerProcess, manifest: ModelManifest) -> Early:
    """Returns the engine's files; once they are verified, it loads them while the others are hashed."""
    manifest.require_task(str(settings.model / MANIFEST), "text-generation", "feature-extraction")
    require_name(settings.name or manifest.name, manifest.name, str(settings.model / MANIFEST))
    engine = choose_engine(settings.engine, manifest.engines, os.environ).engine
    names = sorted(name for name in manifest.files if name.startswith("openvino/") == (engine == "openvino"))
    if engine == "openvino":
        names += [name for name in ("tokenizer.json",) if name in manifest.files]
    if len(names) > MOST_HANDLES:
        raise ServingError(
            f"has {len(names)} files for the engine {engine}; at most {MOST_HANDLES} can be handed over",
            where=str(settings.model), fix="package it with larger weight files",
        )  # fmt: skip
    form = manifest.embedding
    if form and engine != "openvino":
        raise ServingError(
            f"is an embedding model, which the engine {engine} can't run", where=str(settings.model / MANIFEST),
            fix="`llmops models convert NAME@N` gives it OpenVINO's form; on a GPU, serve it with vLLM",
        )  # fmt: skip
    message = encode({"load": asdict(load_order(settings, engine, names, form))})

    def send(handles: Mapping[str, int]) -> None:
        socket.send_fds(worker.sock, [message], list(handles.values()))

    return Early(names, send)
