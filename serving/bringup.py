"""Verifies a model version, then has the engine load it: on a thread, beside a start's other work."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

from contract.digest import sha256_file
from contract.errors import ServingError
from contract.layout import MANIFEST
from contract.model import ModelManifest
from contract.names import require_name
from contract.signing import verify
from serving.engines.base import LoadOrder
from serving.engines.spawn import WorkerProcess
from serving.engines.wire import encode
from serving.settings import Settings


class BringUp:
    """Signature, identity and every file's hash, then the order to load; started when made."""

    def __init__(self, settings: Settings, worker: WorkerProcess) -> None:
        self.worker = worker
        pool = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self.verified: Future[tuple[ModelManifest, str]] = pool.submit(_run, settings, worker)
        """The manifest and its sha256; by then the engine loads."""
        pool.shutdown(wait=False)


def _run(settings: Settings, worker: WorkerProcess) -> tuple[ModelManifest, str]:
    manifest = verify(settings.model, settings.public_key, settings.identity)
    require_name(settings.name or manifest.name, manifest.name, str(settings.model / MANIFEST))
    engine = settings.engine if settings.engine != "auto" else _best(manifest.engines, settings)
    order = LoadOrder(engine, str(settings.model), settings.precision, settings.threads)
    worker.sock.sendall(encode({"load": asdict(order)}))
    return manifest, sha256_file(settings.model / MANIFEST)


def _best(engines: Sequence[str], settings: Settings) -> str:
    """openvino where the version has its form, else what it has."""
    if not engines:
        raise ServingError("names no engine", where=f"{settings.model / MANIFEST}: engines", fix="package it again")
    return "openvino" if "openvino" in engines else engines[0]
