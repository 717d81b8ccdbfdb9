"""The demo in a fresh copy of the checkout, as a newcomer would have it."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.documents.run import RunSpec
from llmops_kit.core.documents.store import StoreDocument
from llmops_kit.core.layout import MANIFEST, SPEC, cache_dir, model_key
from llmops_kit.local_runtime import process_images
from llmops_kit.local_runtime.environments import find_uv
from tests.support.checkout import CHECKOUT
from tests.support.sources import sources_key
from tools.demo import DEFAULT, find_demo


@dataclass(frozen=True)
class Demo:
    """Where `make demo` ran, and what it printed, with its log."""

    folder: Path
    output: str

    def run(self, script: str) -> str:
        """What a bash script prints in that folder; `AssertionError` with its end if it fails."""
        return _run(["bash", "-c", script], self.folder)


@contextmanager
def made_demo(folder: Path) -> Iterator[Demo]:
    """Run `make demo` in a copy at `folder`, and `make demo-down` at the end."""
    copy_checkout(folder)
    with deployed_demo(folder, DEFAULT) as demo:
        yield demo


@contextmanager
def changed_recipe(folder: Path, recipe: str, changes: Mapping[str, str]) -> Iterator[None]:
    """Commit other settings of a recipe in a checkout; without that commit afterwards.

    Args:
        folder: the checkout.
        recipe: its file's path there.
        changes: texts of its file -> what stands in their place.
    """
    path = folder / recipe
    text = path.read_text()
    for before, after in changes.items():
        assert before in text, f"{before!r} does not stand in {path}"
        text = text.replace(before, after)
    path.write_text(text)
    _commit(folder, f"Change the settings of {recipe}")
    try:
        yield
    finally:
        _run(["git", "reset", "--quiet", "--hard", "HEAD^"], folder)


@contextmanager
def deployed_demo(folder: Path, recipe: str, variant: str = "") -> Iterator[Demo]:
    """Run `make demo RECIPE=…` in a checkout, and `make demo-down` at the end.

    It trains once a machine for the same lock, recipe and sources of training: what the run needed and made is kept in
    the kit's cache, and the next demo finds a complete run of the same inputs.

    Args:
        folder: the checkout.
        recipe: its name.
        variant: what a recipe with other settings is kept as, beside that of the kit.
    """
    data = folder / ".llmops" / find_demo(recipe).stack
    kept = cache_dir() / "tests/demos" / f"{recipe}{variant}" / inputs_key(recipe, folder)
    if kept.exists():
        shutil.copytree(kept, data, symlinks=True)
        _rename_image(data / "runs")
    try:
        output = _run(["make", "demo", *([] if recipe == DEFAULT else [f"RECIPE={recipe}"])], folder)
        output += (folder / find_demo(recipe).log).read_text()
        if "stage=train" in output:
            _keep(data, kept)
        yield Demo(folder, output)
    finally:
        _run(["make", "demo-down", f"RECIPE={recipe}"], folder)


def inputs_key(recipe: str = DEFAULT, root: Path = CHECKOUT) -> str:
    """A hash of the files that a demo's model version is made from; of data in packages, the recipe has the version."""
    path = root / f"recipes/{recipe}.yaml"
    read = Recipe.load(path)
    named = [*(source.source for source in read.data.sources), read.base_model.chat_template]
    data = [path.parent / name for name in named if name]
    others = (root / "requirements/training.txt", path, *filter(Path.is_file, data))
    return sources_key("llmops_kit.training.__main__", "llmops_kit.data_pipeline.prepare", root=root, others=others)


def _rename_image(runs: Path) -> None:
    """Let a kept run name the training image of now, which may have other files: none of them is one that trains."""
    now = process_images.reference("training").encode()
    for name in (SPEC, MANIFEST):
        for path in runs.rglob(name):
            path.write_bytes(re.sub(rb"process:training@sha256:[0-9a-f]{64}", now, path.read_bytes()))


def _keep(data: Path, kept: Path) -> None:
    """Keep the demo's run, its base model and the key that signed it, in place of those of older inputs.

    Not the version that was made of the run: the next demo collects it, checks and signs it again.
    """

    def emptied(folder: str, names: list[str]) -> list[str]:
        return names if Path(folder).name in ("checkpoints", "tmp") else []

    run = max((data / "runs").glob(f"*/{SPEC}"))  # their names begin with the time
    base = RunSpec.load(run).base_model
    shutil.rmtree(kept.parent, ignore_errors=True)
    kept.parent.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as temporary:
        copy = Path(temporary, "demo")
        for part in (
            run.parent.relative_to(data),
            "keys",
            f"store/aliases/models/{base.name}",
            f"store/{model_key(base.sha256)}",
        ):
            shutil.copytree(data / part, copy / part, symlinks=True, ignore=emptied)
        # Of no checkout: the one that trained may still be there, and nobody else may take its store.
        StoreDocument.new(stack=data.name, project="").write(copy / "store/store.json")
        copy.rename(kept)


def copy_checkout(folder: Path) -> None:
    """Clone the checkout, with what is not committed yet as one more commit."""
    _run(["git", "clone", "--quiet", CHECKOUT, folder], CHECKOUT)
    for name in filter(None, _run(["git", "ls-files", "-z", "-mo", "--exclude-standard"], CHECKOUT).split("\0")):
        source, target = CHECKOUT / name, folder / name
        target.unlink(missing_ok=True)
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    if _run(["git", "status", "--porcelain"], folder):
        _commit(folder, "What is not committed yet")


def _commit(folder: Path, message: str) -> None:
    _run(["git", "add", "--all"], folder)
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    _run(["git", *author, "commit", "--quiet", "--no-verify", "--message", message], folder)


@cache
def _uv_alone() -> Path:
    """A folder with this environment's uv. Without it on PATH, each fresh checkout fetches uv, as this one did for
    `make test`.
    """
    folder = cache_dir() / "tests" / "uv"
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"uv.{os.getpid()}"
    new.symlink_to(find_uv())
    new.replace(folder / "uv")
    return folder


def _run(command: list[str | Path], folder: Path) -> str:
    ours = ("PULUMI_", "LLMOPS_", "VIRTUAL_ENV", "PYTHON")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(ours) or k == "LLMOPS_CACHE"}
    environ["PATH"] = f"{_uv_alone()}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, f"{command} in {folder}:\n{done.stdout[-6000:]}"
    return done.stdout
