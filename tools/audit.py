"""`make audit`: known vulnerabilities of everything that is locked, and of the images.

    python -m tools.audit [--osv-url URL]

pip-audit looks up the packages of all locks, on PyPI or on your own OSV service. trivy or grype, whichever is on PATH,
scans the Go modules of Pulumi's engine (trivy only) and the images of this checkout that Docker has. Both fetch their
data themselves. Failed look-ups are reported, and never count as clean.

Ends with 0: everything was scanned, nothing found; 1: something was found; 3: nothing found, but something could not be
scanned.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmops_kit.cli.images.sbom import Locked, read_lock
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.core.layout import cache_dir
from llmops_kit.local_runtime import containers, process_images
from llmops_kit.local_runtime.environments import find_uv
from llmops_kit.local_runtime.files import locked

ROOT = Path(__file__).parents[1]
GO = ROOT / "src/llmops_kit/cli/pulumi_engine/go"
_LOCK = ROOT / "requirements" / "audit.txt"
_SECONDS = 1800


@dataclass
class Report:
    """Findings, and what could not be scanned."""

    findings: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    """Lines that name what could not be scanned, and why."""

    @property
    def code(self) -> int:
        """Exit code: 1 with findings, 3 if something could not be scanned, else 0."""
        return 1 if self.findings else 3 if self.missed else 0


def audit(locks: Sequence[Path], osv_url: str = "") -> Report:
    """Looks up the packages of locks.

    Args:
        locks: with hashes.
        osv_url: of an OSV service; empty: PyPI's.
    """
    report, packages = Report(), _packages(locks)
    for group in _groups(list(packages)):
        for name, version, problem, ids in _pip_audit([packages[key][0] for key in group], osv_url):
            _, files = packages.get((name, version), (None, locks))
            what = f"{name} {version}".strip() + f" ({', '.join(path.name for path in files)})"
            report.missed += [f"{what}: {problem}"] if problem else []
            report.findings += [f"{what}: {each}" for each in ids]
    return report


Packages = dict[tuple[str, str], tuple[Locked, list[Path]]]


def _packages(locks: Sequence[Path]) -> Packages:
    """Returns each package of the locks once, whatever platform it is for."""
    found: Packages = {}
    for path in locks:
        for package in read_lock(path):
            found.setdefault((package.name, package.version), (package, []))[1].append(path)
    return found


def _groups(keys: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yields lists with one version of each package, as a file of requirements allows only one."""
    while keys:
        group = {name: (name, version) for name, version in reversed(keys)}
        yield list(group.values())
        keys = [key for key in keys if key not in group.values()]


def _pip_audit(packages: list[Locked], osv_url: str) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yields each package's name, version, the reason if it was not looked up, and identifiers of vulnerabilities."""
    with tempfile.TemporaryDirectory(prefix="llmops-audit-") as folder:
        requirements = Path(folder, "requirements.txt")
        lines = (" ".join([f"{p.name}=={p.version}", *(f"--hash=sha256:{h}" for h in p.hashes)]) for p in packages)
        requirements.write_text("\n".join([*lines, ""]))
        service = ["-s", "osv", "--osv-url", osv_url] if osv_url else ["-s", "pypi", "--cache-dir", folder]
        options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "-f", "json", *service]
        answer = _run([str(_tool()), "-r", str(requirements), *options])
    try:
        listed = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError):
        words = answer.stderr.strip().splitlines() or ["pip-audit printed nothing"]
        yield f"{len(packages)} packages", "", f"the service of advisories did not answer: {words[-1][:300]}", []
        return
    versions = {package.name: package.version for package in packages}
    for entry in listed:
        ids = [each["id"] for each in entry.get("vulns", [])]
        yield entry["name"], entry.get("version") or versions.get(entry["name"], ""), entry.get("skip_reason", ""), ids


def _tool() -> Path:
    """Returns pip-audit, installed from its lock in its own environment."""
    home = cache_dir() / "audit" / sha256_bytes(_LOCK.read_bytes())[:20]
    with locked(home.with_name(f"{home.name}.lock")):
        if not (home / "complete").exists():
            uv, python = find_uv(), str(home / "bin" / "python")
            subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)], check=True)
            sync = [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", str(_LOCK)]
            subprocess.run(sync, check=True)
            (home / "complete").touch()
    return home / "bin" / "pip-audit"


def scan() -> Report:
    """Scans the engine's Go modules and the images that Docker has, with an installed scanner."""
    report = Report()
    trivy, grype = shutil.which("trivy"), shutil.which("grype")
    if trivy:
        _scan_by([trivy, "fs", "--scanners", "vuln", "--format", "json", str(GO)], "Go modules of the engine", report)
    else:
        report.missed.append("Go modules of the engine: trivy is not on PATH")
    for name in ("training", "training-tensorflow", "serving", "serving-vllm"):
        tag = f"llmops-{name}:{containers.version_of(process_images.reference(name).rpartition(':')[2])}"
        if not (trivy or grype):
            report.missed.append(f"image {name}: neither trivy nor grype is on PATH")
        elif not _is_there(tag):
            report.missed.append(f"image {name}: Docker doesn't have {tag}; `llmops images build --runtime docker`")
        else:
            by_trivy = [str(trivy), "image", "--scanners", "vuln", "--format", "json", tag]
            _scan_by(by_trivy if trivy else [str(grype), "-o", "json", f"docker:{tag}"], f"image {name}", report)
    return report


def _is_there(tag: str) -> bool:
    docker = shutil.which("docker")
    return bool(docker) and _run([str(docker), "image", "inspect", tag]).returncode == 0


def _scan_by(command: list[str], what: str, report: Report) -> None:
    answer = _run(command)
    try:
        found = json.loads(answer.stdout)
    except ValueError:
        words = answer.stderr.strip().splitlines() or ["it printed nothing"]
        report.missed.append(f"{what}: {Path(command[0]).name} could not scan it: {words[-1][:300]}")
        return
    report.findings += [f"{what}: {finding}" for finding in _listed(found)]


def _listed(found: dict[str, Any]) -> Iterator[str]:
    """Yields the findings in trivy's or grype's JSON."""
    for result in found.get("Results") or []:
        for each in result.get("Vulnerabilities") or []:
            package = f"{each['PkgName']} {each['InstalledVersion']}"
            yield f"{package}: {each['VulnerabilityID']} ({each['Severity'].lower()})"
    for match in found.get("matches") or []:
        artifact, each = match["artifact"], match["vulnerability"]
        yield f"{artifact['name']} {artifact['version']}: {each['id']} ({each['severity'].lower()})"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS)


def main() -> None:
    """Prints the findings, and what was not scanned."""
    parser = argparse.ArgumentParser(prog="make audit")
    parser.add_argument("--osv-url", default="", help="an OSV service instead of PyPI, such as a mirror of your own")
    parser.add_argument("locks", nargs="*", type=Path, help="these locks alone, and no image")
    asked = parser.parse_args()
    locks = asked.locks or [*sorted((ROOT / "requirements").glob("*.txt")), GO / "requirements.txt"]
    reports = [audit(locks, asked.osv_url), *([] if asked.locks else [scan()])]
    report = Report([f for r in reports for f in r.findings], [m for r in reports for m in r.missed])
    for line in report.findings:
        print(f"found: {line}")
    for line in report.missed:
        print(f"not scanned: {line}")
    print(f"{len(report.findings)} findings, {len(report.missed)} not scanned")
    raise SystemExit(report.code)


if __name__ == "__main__":
    main()
