"""Checks and renews the chat page's libraries, copied from npm: one file each, as a page with a strict policy needs.

    python -m tools.vendored --check    lists files that differ from vendored.toml; needs no network
    python -m tools.vendored            fetches the recorded versions with npm, and records their hashes

vendored.toml has, by package: its version and licence, the file's path in the package, the file's sha256, and npm's own
hash of the package's archive.
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "serving/llmops_kit/serving/page/vendor"
_RECORD = "vendored.toml"


def changed(folder: Path = FOLDER) -> Iterator[str]:
    """Yields a line for each difference from the record."""
    for name, entry in tomllib.loads((folder / _RECORD).read_text()).items():
        content = (folder / f"{name}.js").read_bytes()
        if (found := hashlib.sha256(content).hexdigest()) != entry["sha256"]:
            yield f"{name}.js has sha256 {found}, recorded is {entry['sha256']}"
        if f"{name} v{entry['version']} " not in content[:500].decode():
            yield f"{name}.js does not say that it is version {entry['version']}"
        if entry["licence"] not in (folder / f"{name}.LICENSE").read_text():
            yield f"{name}.LICENSE does not name {entry['licence']}"


def renew(folder: Path = FOLDER) -> None:
    """Fetches each package's recorded version, and writes its file, its licence and their hashes."""
    record = (folder / _RECORD).read_text()
    for name, entry in tomllib.loads(record).items():
        with tempfile.TemporaryDirectory() as work:
            command = ["npm", "pack", "--json", "--ignore-scripts", f"{name}@{entry['version']}"]
            packed = json.loads(subprocess.run(command, cwd=work, check=True, capture_output=True).stdout)[0]
            with tarfile.open(Path(work, packed["filename"])) as archive:
                content, licence = (_member(archive, path) for path in (entry["source"], "LICENSE"))
        (folder / f"{name}.js").write_bytes(content)
        (folder / f"{name}.LICENSE").write_bytes(licence)
        hashes = {"sha256": hashlib.sha256(content).hexdigest(), "archive": packed["integrity"]}
        before, heading, rest = record.partition(f"[{name}]\n")
        section, bracket, after = rest.partition("\n[")
        for key, value in hashes.items():
            section = re.sub(rf'^{key} = ".*"$', f'{key} = "{value}"', section, flags=re.MULTILINE)
        record = before + heading + section + bracket + after
    (folder / _RECORD).write_text(record)


def _member(archive: tarfile.TarFile, path: str) -> bytes:
    file = archive.extractfile(f"package/{path}")
    assert file, path
    return file.read()


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        renew()
    found = list(changed())
    print("\n".join(found) or "the chat page's libraries are as recorded")
    sys.exit(bool(found))
