"""Images that run as processes: a virtual environment and a copy of the packages, named by content.

A process replaces a container: it runs in the virtual environment of the image's requirements, inherits no variables,
and has its own root for `/opt/ml` and its own port. No cloud accepts its reference, `process:NAME@sha256:…`.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from llmops_kit.core.engines.records import ENGINES, EngineName, engines_by_preference
from llmops_kit.core.errors import HostingError
from llmops_kit.core.integrity.digest import tree_hash
from llmops_kit.core.layout import EXPORT_VARIABLE, ROOT_VARIABLE, cache_dir
from llmops_kit.core.models.gpus import VISIBLE, usable_gpus
from llmops_kit.core.programs import package_folder
from llmops_kit.local_runtime.environments import build_environment, python_of
from llmops_kit.local_runtime.files import locked, silent, write_atomic

_NAMESPACE = "llmops_kit"
_CHECKOUT = Path(__file__).resolve().parents[3]
"""Root of a checkout; in an installed kit there are no requirements in it."""
_PACKAGES = {
    "training": ("core", "training"),
    "training-tensorflow": ("core", "training"),
    **{record.image: ("core", "serving") for record in ENGINES.values()},
    "lm-eval": (),  # EleutherAI's harness alone: `llmops evaluate --lm-eval`
    "preparation": ("core", "training", "data_pipeline"),
    "preparation-ray": ("core", "training", "data_pipeline"),
}
_REFERENCE = re.compile(r"process:(?P<name>[a-z][a-z0-9-]*)@sha256:(?P<sha256>[0-9a-f]{64})")
_PROGRAMS = {
    "training-tensorflow": "llmops_kit.training.keras_trainer",
    "preparation": "llmops_kit.data_pipeline",
    "preparation-ray": "llmops_kit.data_pipeline",
}
"""Image -> its module, where images are not named like their package."""
_COMMANDS = {f"{_NAMESPACE}.serving": ("serve",), f"{_NAMESPACE}.training": ("train",)}
_SCHEMA = "process-image/2"
_FOR_ALL = 0o755


@dataclass(frozen=True)
class ImageSource:
    """The lock and the packages from which an image is built; their hash names it."""

    name: str
    requirements: Path
    packages: Mapping[str, Path]
    export: Path | None = None
    """The lock of the image's second environment."""
    shares: str = ""
    """Image of the kit whose environment it shares, because their locks are the same; empty: it has its own."""

    @classmethod
    def of_kit(cls, name: str) -> "ImageSource":
        """Returns the source of one of the kit's images.

        Raises:
            HostingError: there is no image of this name, or its files are missing.
        """
        if not is_of_kit(name):
            raise HostingError(f"there is no image {name!r}", fix=f"choose one of {', '.join(_PACKAGES)}")
        try:
            packages = {f"{_NAMESPACE}/{package}": package_folder(package) for package in _PACKAGES[name]}
        except FileNotFoundError as e:
            raise HostingError("a package of the image is missing", where=str(e), fix="install the kit again") from None
        return cls(name, _requirements(name), packages, _requirements("export") if name == "training" else None)

    @property
    def program(self) -> str:
        """Module that the image runs."""
        package = package_of(self.name)
        return _PROGRAMS.get(self.name, f"{_NAMESPACE}.{package}" if is_of_kit(self.name) else package)

    def files(self) -> dict[str, Path]:
        """Returns path -> file: the packages below `app/`, the locks as `requirements.txt` and `export.txt`."""
        found = {"requirements.txt": self.requirements} | ({"export.txt": self.export} if self.export else {})
        for package, folder in self.packages.items():
            for base, folders, names in os.walk(folder):
                folders[:] = [f for f in folders if f != "__pycache__" and not f.startswith(".")]
                for name in names:
                    if not name.startswith(".") and not name.endswith(".pyc"):
                        path = Path(base, name)
                        found[f"app/{package}/{path.relative_to(folder).as_posix()}"] = path
        return found


@dataclass(frozen=True)
class ProcessImage:
    """A built image: run its entrypoint with `process_environ`; `python` in it is the image's interpreter."""

    ref: str
    python: Path
    app: Path
    program: str
    """Module that its entrypoint runs."""
    export: Path | None = None
    """The interpreter of its second environment."""

    @property
    def interpreters(self) -> list[Path]:
        """Interpreters of the image's environments: the one that runs it, and that of `export` if it has one."""
        return [self.python, *([self.export] if self.export else [])]

    def let_all_read(self) -> None:
        """Lets other users of this machine run it: older kits created environments for their own user only."""
        for folder in (*(python.parents[1] for python in self.interpreters), self.app.parent, self.app):
            if folder.stat().st_mode & _FOR_ALL != _FOR_ALL:
                folder.chmod(_FOR_ALL)

    @property
    def entrypoint(self) -> tuple[str, ...]:
        """ENTRYPOINT of the image's Dockerfile; a platform adds `train` or `serve`."""
        return ("python", "-m", self.program)

    @property
    def command(self) -> tuple[str, ...]:
        """CMD of the image's Dockerfile, for a platform that adds nothing."""
        return _COMMANDS.get(self.program, ())


def serving_image(engine: str, runtime: str, environ: Mapping[str, str]) -> str:
    """Returns the name of the serving image that has an engine.

    Args:
        engine: vllm, openvino, transformers, or auto: vllm where a process of this environment has a GPU.
        runtime: process or docker, whose containers get no GPUs here.
        environ: of this process, which may hide the machine's GPUs.
    """
    if engine == "auto":
        engine = engines_by_preference(runtime == "process" and bool(usable_gpus(environ)))[0]
    return ENGINES[cast(EngineName, engine)].image


def package_of(name: str) -> str:
    """Returns the package that an image runs, such as `serving` for serving-vllm; a package's images share a repository
    of a registry.
    """
    return name.partition("-")[0]


def is_of_kit(name: str) -> bool:
    """Returns whether an image of this name is one of the kit's own."""
    return name in _PACKAGES


def dockerfile_of(name: str, files: Mapping[str, Path]) -> str:
    """Returns the path below `app/` of an image's Dockerfile: its own, such as serving/Dockerfile.vllm, or its
    package's.

    Args:
        name: the image's.
        files: its files, as ImageSource.files gives them.
    """
    package, _, variant = name.partition("-")
    folder = f"{_NAMESPACE}/{package}" if is_of_kit(name) else package
    own = f"{folder}/Dockerfile.{variant}"
    return own if f"app/{own}" in files else f"{folder}/Dockerfile"


def reference(image: str | ImageSource) -> str:
    """Returns the reference for an image's current files, without building it."""
    source = _source(image)
    return _reference(source.name, tree_hash(source.files()))


def build(image: str | ImageSource, say: Callable[[str], None] = silent) -> str:
    """Builds an image unless it exists; safe in several processes at once, and after an interrupted build.

    Args:
        image: name of one of the kit's images, or the source of another one.
        say: called with one line for each step.

    Returns:
        Its reference, for `find`.

    Raises:
        HostingError: the environment can't be created.
    """
    source = _source(image)
    if built := _if_built(reference(source)):
        return built
    folder = cache_dir() / "images" / source.name
    with locked(folder / ".lock", say, f"image {source.name}: another process builds it; waiting"):
        if built := _if_built(reference(source)):
            return built
        first = build_environment(source.shares or source.name, source.requirements, say)
        built = {"environment": first.folder.name}
        if source.export:
            built["export"] = build_environment("export", source.export, say, below=first).folder.name
        return _copy_app(source, folder, built)


def find(ref: str) -> ProcessImage:
    """Returns the built image of a reference.

    Raises:
        HostingError: the reference is malformed, or the image is not built on this machine.
    """
    match = _REFERENCE.fullmatch(ref)
    if not match:
        raise HostingError(
            f"{ref!r} is not the reference of a process image",
            fix="use the output of the stack's image resource (process:NAME@sha256:<64 hex digits>)",
        )
    folder = cache_dir() / "images" / match["name"] / match["sha256"]
    try:
        document = json.loads((folder / "image.json").read_text())
        program = str(document.get("program", ""))
        python, export = (
            python_of(cache_dir() / "venvs" / document[name]) if name in document else None
            for name in ("environment", "export")
        )
    except (OSError, ValueError, TypeError, AttributeError):
        python, export, program = None, None, ""
    if not python or not python.exists() or (export and not export.exists()):
        raise HostingError(
            f"image {ref} is not built on this machine",
            where=str(folder),
            fix="`llmops up` builds the image of this checkout; for an older image, check out the revision that it was "
            "built from first",
        )
    if not program:
        raise HostingError(
            f"image {ref} was built by a kit from before its first release",
            where=str(folder),
            fix="`llmops up` builds the image of this kit; versions that the older one trained stay usable",
        )
    return ProcessImage(ref, python, folder / "app", program, export)


def process_environ(
    image: ProcessImage, root: Path, port: int | None = None, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Returns the complete environment of a process that replaces a container; it inherits only the choice of GPUs.

    Args:
        image: the image that it runs.
        root: the folder that replaces the container's `/`; its `tmp` is created, as home and for temporary files.
        port: where a server listens; None for a job.
        extra: the container's own variables, which take precedence.
    """
    temporary = root / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    environ = {
        "PATH": f"{image.python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(image.app),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",  # no imports from the working directory
        "PYTHONUNBUFFERED": "1",
        ROOT_VARIABLE: str(root),
    }
    if image.export:
        environ[EXPORT_VARIABLE] = str(image.export)
    if port is not None:
        environ["SAGEMAKER_BIND_TO_PORT"] = str(port)
    if (gpus := os.environ.get(VISIBLE)) is not None:  # a container has those that it was started with
        environ[VISIBLE] = gpus
    return environ | dict(extra or {})


def under(root: Path, mounted: Iterable[str], value: str) -> str:
    """Returns a variable or an argument for a process: a path in a mounted folder is put below `root`."""
    inside = any(value == path or value.startswith(path.rstrip("/") + "/") for path in mounted)
    return f"{root}{value}" if inside else value


def _source(image: str | ImageSource) -> ImageSource:
    return ImageSource.of_kit(image) if isinstance(image, str) else image


def _if_built(ref: str) -> str:
    try:
        return find(ref).ref
    except HostingError:
        return ""


def _reference(name: str, sha256: str) -> str:
    return f"process:{name}@sha256:{sha256}"


def _requirements(name: str) -> Path:
    """Returns the image's lock: from a checkout, or from this package in an installed kit."""
    for folder in (_CHECKOUT / "requirements", Path(__file__).parent / "requirements"):
        if (path := folder / f"{name}.txt").is_file():
            return path
    raise HostingError(f"{name}.txt, the lock of the image's packages, is missing", fix="install the kit again")


def _copy_app(source: ImageSource, folder: Path, environments: Mapping[str, str]) -> str:
    """Copies the packages; returns the reference, with the hash of the copy: files may be edited meanwhile."""
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        copied = {}
        for name, path in source.files().items():
            copied[name] = partial / name
            copied[name].parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied[name])
        sha256 = tree_hash(copied)
        ref = _reference(source.name, sha256)
        subprocess.run(
            [
                python_of(cache_dir() / "venvs" / environments["environment"]),
                "-m",
                "compileall",
                "-q",
                "-j0",
                "--invalidation-mode",
                "unchecked-hash",
                str(partial / "app"),
            ],
            check=False,  # a file that does not compile is for the image's own start to report
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        document = {"schema": _SCHEMA, "ref": ref, "program": source.program, **environments}
        write_atomic(partial / "image.json", json.dumps(document, indent=2) + "\n", 0o644)
        shutil.rmtree(folder / sha256, ignore_errors=True)  # exists only if its environment was deleted
        partial.rename(folder / sha256)
    except OSError as e:
        raise HostingError(
            f"image {source.name} can't be written: {e.strerror}",
            where=str(folder),
            fix="check the disk, and rerun the command",
        ) from e
    return ref
