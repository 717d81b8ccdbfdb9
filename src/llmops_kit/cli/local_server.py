"""Serves models on this machine while a command runs: an endpoint of the local runtime in a temporary folder."""

import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from llmops_kit.cli.evaluation.models import StoredModel
from llmops_kit.cli.importing.importing import Fetched, convert
from llmops_kit.core.documents.model import ModelManifest
from llmops_kit.core.documents.recipe import BaseModelSource
from llmops_kit.core.engines.records import EngineChoice
from llmops_kit.core.errors import KitError, NotFoundError
from llmops_kit.core.integrity.signing import make_key, sign
from llmops_kit.core.layout import MANIFEST, cache_dir
from llmops_kit.core.network.api_key import make_api_key
from llmops_kit.local_runtime import process_images
from llmops_kit.local_runtime.files import locked
from llmops_kit.local_runtime.host import Host
from llmops_kit.local_runtime.model_endpoint import ServedVersion, endpoint_spec
from llmops_kit.local_runtime.ports import holder, is_free

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.platform import Say

_ENDPOINT = "serve"
_READY_SECONDS = 86_400.0
"""Practically no limit: the user waits, and can press Ctrl-C."""
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class LocalAccess:
    """Addresses and key of the served models."""

    url: str
    key: str
    page: str
    """The chat page's address, with the key in it."""
    models: tuple[str, ...]


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Yields a new folder in the kit's cache for one `serve`, after removing those of killed ones; at the end it stops
    the processes of the folder and removes it.
    """
    base = cache_dir() / "serve"
    with ExitStack() as held:
        with locked(base / ".lock"):
            for left in [path for path in base.iterdir() if path.is_dir()]:
                with suppress(BlockingIOError), locked(left / ".lock", wait=False):
                    _remove(left)
            home = Path(tempfile.mkdtemp(dir=base))
            held.enter_context(locked(home / ".lock"))
        try:
            yield home
        finally:
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave processes behind
            _remove(home)
            signal.signal(signal.SIGINT, before)


def require_port(port: int) -> None:
    """Checks that a server can listen on a port; 0 is any port.

    Raises:
        KitError: it is taken; names the program, if known.
    """
    if port and not is_free("127.0.0.1", port):
        who = holder(port)
        raise KitError(
            f"port {port} is taken" + (f" by {who}" if who else ", or not allowed to this user"),
            where="--port",
            fix="end that program, or leave --port out: a free one is chosen",
        )


def require_model(path: Path) -> None:
    """Checks that a path is a Hugging Face folder or a GGUF file, before anything is built; the training image checks
    the content.

    Raises:
        KitError: it is neither; names the path.
    """
    if not path.exists():
        raise NotFoundError(
            "is neither a version nor a folder", where=str(path), fix="write NAME@N, or a Hugging Face folder's path"
        )
    if path.is_dir() and not (path / "config.json").exists() and not list(path.glob("*.gguf")):
        raise KitError(
            "holds no config.json, so it is not a model",
            where=str(path),
            fix="give the folder that holds config.json and *.safetensors, such as a snapshot of the hub",
        )


def serve(
    models: Sequence[StoredModel | Path],
    home: Path,
    *,
    engine: EngineChoice,
    port: int,
    public_key: str,
    environ: Mapping[str, str],
    say: "Say",
) -> LocalAccess:
    """Starts an endpoint with a variant for each model; requests that name no variant go to the first one.

    Args:
        models: versions of a store, and folders checked by `require_model`.
        home: from `temporary_home`, which stops the endpoint at its end.
        engine: auto, or one of the local runtime's.
        port: to listen on, at 127.0.0.1; 0: a free one.
        public_key: of the stack whose versions are served; empty: only folders are served.
        environ: of this process, which may hide the machine's GPUs.
        say: called with each step.

    Returns:
        Its address, once every model is ready.

    Raises:
        KitError: a model can't be served, or does not fit into the memory.
    """
    name = process_images.serving_image(engine, environ)
    _require_memory(models, name)
    versions = [_version(model, number, home, name, public_key, say) for number, model in enumerate(models)]
    if len({version.sha256 for version in versions}) < len(versions):
        raise KitError("both are the same version", where="--against", fix="name another version or folder")
    key_file = home / "api.key"
    make_api_key(key_file)
    image = process_images.build(name, say)
    host = Host(home / "hosting")
    for number, version in enumerate(versions):
        say(f"starting {version.model} ({name})")
        rollout = {"strategy": "manual" if number else "all_at_once"}  # the first model gets all requests
        more = {"port": port, "rollout": rollout, "ready_seconds": _READY_SECONDS}
        spec = endpoint_spec(version, name=_ENDPOINT, image=image, key_file=key_file, engine=engine, **more)
        host.apply(spec, say)
    url, key = host.state(_ENDPOINT).url, key_file.read_text().strip()
    page = f"{url}/#key={key}" + ("&compare" if len(versions) > 1 else "")
    return LocalAccess(url, key, page, tuple(version.model for version in versions))


def wait(home: Path) -> None:
    """Waits until Ctrl-C or a signal ends this process.

    Raises:
        KitError: the endpoint's processes have ended.
    """
    host = Host(home / "hosting")
    while host.alive():
        time.sleep(_LOOK_SECONDS)
    raise KitError(
        "the server's supervisor ended", where=str(home), fix="rerun the command; `dmesg` shows whether it was killed"
    )


def _remove(home: Path) -> None:
    Host(home / "hosting").shutdown()
    shutil.rmtree(home, ignore_errors=True)


def _version(
    model: StoredModel | Path, number: int, home: Path, image: str, public_key: str, say: "Say"
) -> ServedVersion:
    """Returns a signed version: from the store, or made from a folder and signed with a temporary key."""
    if isinstance(model, StoredModel):
        _require_form(model, image)
        key_file = home / "stack.pub"
        key_file.write_text(public_key)
        return ServedVersion(model.fetch(say), key_file, model.name, model.sha256)
    work = home / f"model-{number}"
    work.mkdir()
    name = name_of(model) if not number else f"{name_of(model)[:30].rstrip('-')}-b"
    wanted = BaseModelSource(name=name, source=f"folder:{model}", licence="NOASSERTION")  # SPDX: no statement
    say(f"checking and converting {model}; nothing is stored")
    folder = convert(Fetched(model, f"folder:{model.name}", ""), wanted, image == "serving", work, say)
    signing_key, key_file = home / "signing.key", home / "signing.pub"
    key_file.write_text(make_key(signing_key))
    return ServedVersion(folder, key_file, ModelManifest.load(folder / MANIFEST).name, sign(folder, signing_key))


def name_of(path: Path) -> str:
    """Returns a version's name for a folder: the folder's name in lower-case letters, digits and dashes."""
    words = re.sub(r"[^a-z0-9]+", "-", path.stem.lower() if path.is_file() else path.name.lower()).strip("-")
    return (words if re.match(r"[a-z]..", words) else f"model-{words}".rstrip("-"))[:32].rstrip("-")


def _require_form(model: StoredModel, image: str) -> None:
    if image == "serving" and "openvino" not in model.manifest.engines:
        raise KitError(
            f"{model.name} has no OpenVINO form, which processors serve",
            where="--engine",
            fix=f"`llmops models convert {model.name}` makes a version with it; or add --engine transformers, slower",
        )


def _require_memory(models: Sequence[StoredModel | Path], image: str) -> None:
    """Raises KitError if the weights alone exceed the free memory. On a GPU, vLLM itself reports it."""
    if image == "serving-vllm":
        return
    needed, free = sum(map(_weights, models)), psutil.virtual_memory().available
    if needed > free:
        raise KitError(
            f"the weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free",
            where=", ".join(str(getattr(model, "name", model)) for model in models),
            fix="end other programs, take a smaller model, or serve it on a machine with more memory",
        )


def _weights(model: StoredModel | Path) -> int:
    """Returns the stored size of the weights in bytes."""
    if isinstance(model, StoredModel):
        return sum(entry.size for name, entry in model.manifest.files.items() if name.endswith(".safetensors"))
    files = [model] if model.is_file() else [*model.glob("*.safetensors"), *model.glob("*.gguf")]
    return sum(path.stat().st_size for path in files)


def on_hang_up(act: Callable[[], None]) -> None:
    """Calls a function when the terminal closes, which would otherwise end this process at once."""
    signal.signal(signal.SIGHUP, lambda *_: act())
