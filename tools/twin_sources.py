"""Write docs/twin-confidence.md from the twins' source: `python -m tools.twin_sources`. A test compares.

Each refusal of a twin cites its source: a link in its function, or in the docstring of its class or file. An uncertain
one is marked in a comment before it, or in the docstring of the scope that the mark holds for; a link nearer than such
a docstring makes it certain again:

    # unsure (60 %): why, and what was assumed
    # the twin's own: what no cloud would answer

The percentage is the confidence that the cloud refuses this with these words; from 85 % on nothing is marked.
"""

import ast
import functools
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "docs/twin-confidence.md"
CLOUDS = {"aws": "AWS", "azure": "Azure"}
BEGIN, END = "<!-- Written by `python -m tools.twin_sources`. -->", "<!-- End of what is written. -->"
REFUSALS = (
    *("AwsApiError", "ArmError", "RegistryError", "VaultError", "BodyError", "QueryError", "PlainError", "refused"),
    *("BlobError", "EndError", "FilesError", "ImageError", "ModelDataError", "RunFailure"),
)
"""Constructors of errors that a caller gets, as a response or as the reason of a failed job."""
SURE = 85
_LINK = re.compile(r"https?://[^\s)>\"'`,;]*[^\s)>\"'`,;.:]")
_MARK = re.compile(r"\b(?:[Uu]nsure \((?P<percent>\d+) %\)|(?P<own>[Tt]he twin's own)): (?P<why>.+)", re.S)
_OWN = re.compile(r"\b[Tt]h(is|e) twin\b")
_ATTEMPT = re.compile(r"\b[Uu]nsure \(")
_CODE = re.compile(r"[A-Z][\w.]*[a-z][\w.]*|[A-Z]+")

Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Mark:
    """Confidence in a refusal; `percent` is None where the refusal is the twin's own."""

    percent: int | None
    why: str


@dataclass(frozen=True)
class Refusal:
    """One call of a constructor."""

    path: Path
    line: int
    function: str
    code: str
    links: tuple[str, ...]
    mark: Mark | None


@dataclass
class Comment:
    """Consecutive comment lines."""

    first: int
    last: int
    text: str = ""


@dataclass
class Source:
    """A file's refusals, and its malformed or unused marks."""

    refusals: list[Refusal] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def main() -> None:
    """Writes the page; exits with an error if a refusal names no source or a mark is malformed."""
    sources = {cloud: read(cloud) for cloud in CLOUDS}
    if found := [each for source in sources.values() for each in problems(source)]:
        sys.exit("\n".join(found))
    PAGE.write_text(with_tables(PAGE.read_text(), render(sources)))


@functools.cache
def read(cloud: str, checkout: Path = CHECKOUT) -> Source:
    """Returns all refusals of a cloud's twin, by path and line."""
    whole = Source()
    for path in sorted((checkout / "twins/llmops_twins" / cloud).rglob("*.py")):
        found = read_file(path.read_text(), path.relative_to(checkout))
        whole.refusals += found.refusals
        whole.problems += found.problems
    return whole


def problems(source: Source) -> Iterator[str]:
    """Yields problems: refusals without a source, marks without a refusal."""
    yield from source.problems
    for each in source.refusals:
        if not each.links and not each.mark:
            yield f"{each.path}:{each.line}: {each.code} in {each.function} names no source"


def read_file(text: str, path: Path) -> Source:
    """Returns the refusals of a twin's module, each with the source that its comments name."""
    tree, comments, found = ast.parse(text), _comments(text), Source()
    calls = sorted(_calls(tree, (tree,)), key=lambda each: (each[0].lineno, each[0].col_offset))
    assigned = [each for each in ast.walk(tree) if isinstance(each, ast.Assign)]
    marked = {}
    for comment in comments:
        mark = _mark(comment.text)
        after = next((call for call, _ in calls if (call.end_lineno or 0) >= comment.first), None)
        if mark and after:
            marked[after] = mark
        if _ATTEMPT.search(comment.text) and not (mark and after):
            found.problems.append(f"{path}:{comment.first}: this mark is not well formed, or no refusal follows")
    for scope in ast.walk(tree):
        if isinstance(scope, Scope) and _ATTEMPT.search(_doc(scope)) and not _mark(_doc(scope)):
            found.problems.append(f"{path}: the mark in the docstring of {_name(scope)} is not well formed")
    for call, scopes in calls:
        told = [(_said(scope, comments), _mark(_doc(scope))) for scope in reversed(scopes)]
        links = next((links for text, _ in told if (links := _LINK.findall(text))), [])
        nearest = next((mark for text, mark in told if mark or _LINK.search(text)), None)
        mark = marked.get(call) or _own(call, scopes, assigned) or nearest
        name = ".".join(_name(scope) for scope in scopes[1:]) or "the file's own code"
        found.refusals.append(Refusal(path, call.lineno, name, _code(call), tuple(dict.fromkeys(links)), mark))
    return found


def _calls(node: ast.AST, scopes: tuple[Scope, ...]) -> Iterator[tuple[ast.Call, tuple[Scope, ...]]]:
    for child in ast.iter_child_nodes(node):
        inner = (*scopes, child) if isinstance(child, Scope) else scopes
        if isinstance(child, ast.Call) and ast.unparse(child.func).rpartition(".")[2] in REFUSALS:
            yield child, scopes
        yield from _calls(child, inner)


def _comments(text: str) -> list[Comment]:
    found: list[Comment] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, said = token.start[0], token.string.lstrip("# ")
        alone = not text.splitlines()[line - 1][: token.start[1]].strip()
        if found and alone and found[-1].last == line - 1 and not _MARK.search(said):
            found[-1].last, found[-1].text = line, f"{found[-1].text} {said}"
        else:
            found.append(Comment(line, line, said))
    return found


def _mark(text: str) -> Mark | None:
    told = _MARK.search(text)
    if not told:
        return None
    why = " ".join(told["why"].split("\n\n")[0].split()).removesuffix(".")
    if told["own"]:
        return Mark(None, why)
    return Mark(int(told["percent"]), why) if 0 < int(told["percent"]) < SURE else None


def _own(call: ast.Call, scopes: Sequence[Scope], assigned: Sequence[ast.Assign]) -> Mark | None:
    """Returns a mark if the message itself says that it is the twin's own."""
    first = scopes[1].lineno if len(scopes) > 1 and not isinstance(scopes[1], ast.Module) else 0
    near = [each for each in assigned if first <= each.lineno < call.lineno or not each.col_offset]
    said = [_text(each, near) for each in (*call.args, *(keyword.value for keyword in call.keywords))]
    own = next((each for each in said if _OWN.search(each)), "")
    return Mark(None, f"its words say so: {own}") if own else None


def _text(node: ast.expr, assigned: Sequence[ast.Assign]) -> str:
    """Returns the text of a literal, or of the one assigned to a variable; `…` stands for interpolated values."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values)
    if isinstance(node, ast.Constant):
        return str(node.value)
    if not isinstance(node, ast.Name):
        return ""
    values = [
        (each.lineno, each.value)
        for each in assigned
        if any(isinstance(target, ast.Name) and target.id == node.id for target in each.targets)
    ]
    last = max(values, key=lambda each: each[0], default=None)
    return "" if last is None or isinstance(last[1], ast.Name) else _text(last[1], assigned)


def _said(scope: Scope, comments: Sequence[Comment]) -> str:
    """Returns the texts that can name a scope's sources: its docstring, a function's comments, and for a file the
    docstring of its `install`.
    """
    said = [_doc(scope)]
    if isinstance(scope, ast.Module):
        said += [_doc(each) for each in scope.body if isinstance(each, Scope) and _name(each) == "install"]
    elif not isinstance(scope, ast.ClassDef):
        said += [each.text for each in comments if scope.lineno <= each.first <= (scope.end_lineno or 0)]
    return "\n".join(said)


def _doc(scope: Scope) -> str:
    return ast.get_docstring(scope) or ""


def _name(scope: Scope) -> str:
    return "the file" if isinstance(scope, ast.Module) else scope.name


def _code(call: ast.Call) -> str:
    """Returns the first constant of the call that looks like an error code."""
    values = [each for given in [*call.args, *(k.value for k in call.keywords)] for each in _constants(given)]
    return next((each for each in values if _CODE.fullmatch(each)), "")


def _constants(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return [*_constants(node.body), *_constants(node.orelse)]
    return []


def render(sources: dict[str, Source]) -> str:
    """Returns the page's tables."""
    parts = []
    for cloud, source in sources.items():
        unsure = [(each, each.mark) for each in source.refusals if each.mark and each.mark.percent is not None]
        own = [(each, each.mark) for each in source.refusals if each.mark and each.mark.percent is None]
        parts += [f"## {CLOUDS[cloud]}: {len(unsure)} of {len(source.refusals)} refusals are uncertain", ""]
        parts += ["| sure | refusal | where | why |", "|---|---|---|---|"]
        for each, mark in sorted(unsure, key=lambda pair: (pair[1].percent or 0, str(pair[0].path), pair[0].line)):
            parts.append(f"| {mark.percent} % | {_shown(each)} | {_where(each)} | {_cell(mark.why)} |")
        parts += ["", f"### The twin's own: {len(own)} that {CLOUDS[cloud]} would not answer", ""]
        parts += ["| refusal | where | why |", "|---|---|---|"]
        parts += [f"| {_shown(each)} | {_where(each)} | {_cell(mark.why)} |" for each, mark in own]
        parts += [
            "",
            f"### Where {CLOUDS[cloud]}'s refusals are from",
            "",
            "| file | refusals | from |",
            "|---|---|---|",
        ]
        parts += [*_files(source), ""]
    return "\n".join(parts)


def _files(source: Source) -> Iterator[str]:
    for path in dict.fromkeys(each.path for each in source.refusals):
        those = [each for each in source.refusals if each.path == path]
        links = dict.fromkeys(link for each in those for link in each.links)
        yield f"| [{_short(path)}](../{path}) | {len(those)} | {' '.join(f'<{link}>' for link in links)} |"


def _shown(each: Refusal) -> str:
    return f"`{each.code}`" if each.code else "-"


def _where(each: Refusal) -> str:
    return f"[{_short(each.path)}](../{each.path}) `{each.function}`"


def _short(path: Path) -> str:
    return "/".join(path.parts[3:])  # below twins/llmops_twins/CLOUD


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def with_tables(page: str, tables: str) -> str:
    """Returns the page with its generated part replaced."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    main()
