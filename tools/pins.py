"""Pins external artifacts by content, whose names could later refer to something else.

    python -m tools.pins --check    lists what is not pinned; needs no network
    make pin                        renews the pins, where GitHub and Docker's registry can be reached

GitHub Actions are pinned by commit, with their version as a comment; base images by digest, after their tag; Pulumi's
archives by sha256. For a newer action or base, change the version or the tag, then `make pin`.
"""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from llmops_kit.cli.pulumi_engine import install
from llmops_kit.cli.pulumi_engine.version import pinned_version

ROOT = Path(__file__).parents[1]
GITHUB = "https://github.com"
DOCKER_REGISTRY = "https://registry-1.docker.io"
DOCKER_TOKENS = "https://auth.docker.io/token?service=registry.docker.io"
_SECONDS = 30
_USES = re.compile(
    r"(?P<before>uses: (?P<repository>[\w.-]+/[\w.-]+)[\w./-]*@)(?P<commit>\S+)(?: # (?P<version>v\S+))?"
)
_BASE = re.compile(r"(?P<before>^(?:ARG BASE=|FROM ))(?P<tag>[\w./-]+:[\w.-]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?$")
_INDEXES = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"


def unpinned(root: Path = ROOT) -> Iterator[str]:
    """Yields file, line and name of each unpinned artifact."""
    for path in _workflows(root):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = _USES.search(line)
            if found and not (re.fullmatch(r"[0-9a-f]{40}", found["commit"]) and found["version"]):
                name = f"{found['repository']}@{found['commit']}"
                yield f"{path.relative_to(root)}:{number}: {name} is not a commit with its version"
    for path in _dockerfiles(root):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = _BASE.match(line)
            if found and not found["digest"]:
                yield f"{path.relative_to(root)}:{number}: {found['tag']} has no digest"


def renew(root: Path = ROOT, sums: Path = install.SUMS) -> None:
    """Updates all pins to the current digests of their versions and tags."""
    for path in _workflows(root):
        _rewrite(path, _USES, lambda f: f"{f['before']}{_commit(f['repository'], f['version'])} # {f['version']}")
    for path in _dockerfiles(root):
        _rewrite(path, _BASE, lambda f: f"{f['before']}{f['tag']}@{_digest(f['tag'])}")
    comment = [line for line in sums.read_text().splitlines() if line.startswith("#")]
    sums.write_text("\n".join([*comment, *_archives(pinned_version()), ""]))


def _workflows(root: Path) -> list[Path]:
    return sorted([*(root / "docs/how-to/github").rglob("*.yml"), *(root / ".github").rglob("*.yml")])


def _dockerfiles(root: Path) -> list[Path]:
    folders = (root / name / "llmops_kit" / name for name in ("serving", "training"))
    return sorted(path for folder in folders for path in folder.glob("Dockerfile*"))


def _rewrite(path: Path, pattern: re.Pattern[str], new: Callable[[re.Match[str]], str]) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*(pattern.sub(new, line) for line in lines), ""]))


def _commit(repository: str, version: str) -> str:
    """Returns the commit of a repository's tag; of an annotated one, the commit that it points to."""
    tag = f"refs/tags/{version}"
    command = ["git", "ls-remote", f"{GITHUB}/{repository}", tag, f"{tag}^{{}}"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
    found = {name: commit for commit, name in (line.split() for line in answer.splitlines())}
    return found.get(f"{tag}^{{}}") or found[tag]


def _digest(image: str) -> str:
    """Returns the digest of an image of Docker's registry, for all of its platforms."""
    name, _, tag = image.partition(":")
    name = name if "/" in name else f"library/{name}"
    with urllib.request.urlopen(f"{DOCKER_TOKENS}&scope=repository:{name}:pull", timeout=_SECONDS) as answer:
        token = json.load(answer)["token"]
    headers = {"Authorization": f"Bearer {token}", "Accept": _INDEXES}
    request = urllib.request.Request(f"{DOCKER_REGISTRY}/v2/{name}/manifests/{tag}", headers=headers, method="HEAD")
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        return str(answer.headers["Docker-Content-Digest"])


def _archives(version: str) -> list[str]:
    """Returns checksum and name of each archive of a Pulumi release that the kit can use."""
    url = f"{install.RELEASES}/v{version}/pulumi-{version}-checksums.txt"
    with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
        lines = [line.split() for line in answer.read().decode().splitlines()]
    taken = re.compile(r"-(linux|darwin)-\w+\.tar")
    return sorted(
        (f"{digest}  {name}" for digest, name in lines if taken.search(name)), key=lambda line: line.split()[1]
    )


def main() -> None:
    """Renews the pins, or with `--check` lists what is not pinned; exits with 1 if anything is not."""
    if sys.argv[1:] != ["--check"]:
        renew()
    found = list(unpinned())
    print("\n".join(found) or "everything is pinned")
    if not install.pinned_sums():
        print("Pulumi's archives have no checksums: the engine is built from the modules of go.sum")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
