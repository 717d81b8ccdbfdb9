"""A project of one's own: what `llmops init` writes into a new folder."""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from llmops_kit.cli import __version__
from llmops_kit.cli.own_rows import OwnRows
from llmops_kit.core.errors import KitError, RefusedError
from llmops_kit.core.names import NAME_PATTERN

KINDS = {
    "chatbot": "answers questions about facts",
    "assistant": "calls the tools that a request declares",
    "translation": "translates short texts",
}
"""Kind of project -> what its model does."""
CLOUDS = ("aws", "azure")

_ROOTS = (Path(__file__).parent / "starters", Path(__file__).parents[3])
"""Where starter files lie: in the wheel, and in a checkout."""
_DATA = {
    "chatbot": {"recipe.yaml": "examples/office/recipe.yaml", "facts.csv": "examples/office/facts.csv"},
    "assistant": {
        "recipe.yaml": "recipes/assistant.yaml",
        "assistant/trained.jsonl": "recipes/assistant/trained.jsonl",
        "assistant/held-out.jsonl": "recipes/assistant/held-out.jsonl",
        "assistant/chat_template.jinja": "recipes/assistant/chat_template.jinja",
    },
    "translation": {"recipe.yaml": "recipes/translation.yaml", "pairs.jsonl": "examples/translator/pairs.jsonl"},
}
_WORKFLOWS = ("preview", "deploy", "drift", "promote")
_SOURCES = "  sources:\n"
_PAIRS = "    - {source: pairs.jsonl, licence: Apache-2.0} # pairs of your own: replace them\n"
_REPLACE = {
    "chatbot": "`facts.csv`: at least 30 facts, each asked in six ways, with the words that its answer must contain",
    "assistant": "`assistant/`: 64 tools with questions, calls, results and answers; keep at least 30 in each file",
    "translation": "`pairs.jsonl`: 32 texts with their translations; `recipe.yaml` adds public ones for the gate",
}
_SHARED = {
    "Pulumi.yaml": "name: NAME\ndescription: A language model of our own\nruntime: python\n",
    "__main__.py": '"""The Pulumi program: what it declares is set in Pulumi.<stack>.yaml."""\n\n'
    "from llmops_kit.infra.__main__ import main\n\nmain()\n",
    "requirements.txt": "llmops-kit[CLOUD]==VERSION\n",
    ".gitignore": ".llmops/\n.venv/\n__pycache__/\n",
    "README.md": """\
# NAME

A model that PURPOSE. DATA.

- Set up: `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && . .venv/bin/activate`
- Train: `llmops up --stack local && llmops train recipe.yaml --stack local`
- Serve: `llmops promote NAME@latest --stack local && llmops up --stack local && llmops chat --stack local`
- On CLOUD: `llmops plan --stack CLOUD-dev`; workflows: `llmops bootstrap CLOUD --github OWNER/REPO`
""",
}


def write_project(folder: Path, kind: str, name: str, cloud: str, rows: OwnRows | None = None) -> list[str]:
    """Writes a project into a new or empty folder, and returns its files' names. A failure leaves nothing behind.

    Args:
        rows: a chatbot's own, instead of the example's; a dataset version is made of them first, to check them.

    Raises:
        DataError: the rows can't be used.
        RunError: they are too few for the recipe's gate.
        KitError: the name is not one, or the folder can't be written.
        RefusedError: the folder is not empty.
    """
    require_project_name(name)
    require_empty(folder)
    files = _files(kind, name, cloud, rows)
    try:
        _write(folder, files, check=rows is not None)
    except OSError as e:
        fix = "choose a folder that you can write to, below one that exists"
        raise KitError(f"can't be written: {e.strerror}", where=str(folder), fix=fix) from None
    return sorted(files)


def require_project_name(name: str) -> None:
    """Raises KitError unless a project, its model and its endpoint may have the name on every target."""
    if not (re.match(NAME_PATTERN, name) and 3 <= len(name) <= 32):
        fix = "use 3 to 32 lower-case letters, digits and single dashes, a letter first"
        raise KitError(f"{name!r} can't name a project", where="--name", fix=fix)


def require_empty(folder: Path) -> None:
    """Raises RefusedError if something is there: nothing is ever overwritten."""
    if folder.is_dir():
        there = sorted(path.name for path in folder.iterdir())
        if not there:
            return
        more = f" and {len(there) - 3} more" if len(there) > 3 else ""
        what = f"the folder is not empty: it has {', '.join(there[:3])}{more}"
    elif os.path.lexists(folder):
        what = "is not a folder"
    else:
        return
    raise RefusedError(what, where=str(folder), fix="give the name of a new folder; nothing was written")


def name_of(folder: Path) -> str:
    """Returns a project's name made from its folder's; empty if none can be."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:32].rstrip("-")
    return name if re.match(NAME_PATTERN, name) and len(name) >= 3 else ""


def _files(kind: str, name: str, cloud: str, rows: OwnRows | None) -> Mapping[str, str]:
    """Name -> content."""
    data = {to: _read(source) for to, source in _DATA[kind].items()}
    if rows:
        data |= {"facts.csv": rows.to_csv(), "recipe.yaml": rows.recipe(data["recipe.yaml"])}
    data["recipe.yaml"] = re.sub(r"^name: [\w-]+.*$", f"name: {name}", data["recipe.yaml"], count=1, flags=re.MULTILINE)
    if kind == "translation":
        data["recipe.yaml"] = data["recipe.yaml"].replace(_SOURCES, _SOURCES + _PAIRS, 1)
    words = {"NAME": name, "CLOUD": cloud, "VERSION": __version__, "PURPOSE": KINDS[kind]}
    words["DATA"] = "Its data is in `facts.csv`" if rows else f"Replace {_REPLACE[kind]}"
    shared = {to: re.sub("|".join(words), lambda m: words[m[0]], text) for to, text in _SHARED.items()}
    return {**data, **shared, **_stack_files(name, cloud), **_workflows(cloud)}


def _stack_files(name: str, cloud: str) -> dict[str, str]:
    texts = {file: _read(file) for file in ("Pulumi.local.yaml", f"Pulumi.{cloud}-dev.yaml")}
    return {file: re.sub(r"\bllmops:", f"{name}:", text).replace("chatbot", name) for file, text in texts.items()}


def _workflows(cloud: str) -> dict[str, str]:
    folder = "docs/how-to/github" + ("" if cloud == "aws" else f"/{cloud}")
    set_up = "run: python -m venv .venv && .venv/bin/pip install -r requirements.txt"
    found = {}
    for name in _WORKFLOWS:
        text = _read(f"{folder}/{name}.yml").replace("# Copy to .github/workflows/. The", "# The")
        found[f".github/workflows/{name}.yml"] = text.replace(f"run: make {cloud}", set_up)
    return found


def _read(path: str) -> str:
    file = next(root / path for root in _ROOTS if (root / path).is_file())
    return file.read_text(encoding="utf-8")


def _write(folder: Path, files: Mapping[str, str], *, check: bool) -> None:
    """Writes all files beside the folder first, so that the folder never has some of them."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.resolve().parent))
    try:
        for name, text in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if check:
            _check(temporary)
        temporary.chmod(0o777 & ~_umask())
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(folder: Path) -> None:
    """Refuses rows that `llmops train` would refuse."""
    from llmops_kit.cli.data.build import build_dataset
    from llmops_kit.core.documents.recipe import Recipe
    from llmops_kit.training.evaluation.scoring import check_suites

    recipe = Recipe.load(folder / "recipe.yaml")
    with tempfile.TemporaryDirectory() as place:
        dataset = Path(place, "dataset")
        build_dataset(recipe, folder, dataset)
        check_suites(recipe, dataset)


def _publish(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    moved: list[Path] = []
    try:  # a shell may stand in the folder, so it is filled, not replaced
        for path in sorted(temporary.iterdir()):
            to = folder / path.name
            moved.append(to)
            path.rename(to)
    except BaseException:
        for path in moved:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
