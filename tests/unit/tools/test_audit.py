"""`make audit` by scanners of our own making; pip-audit itself: tests/emulated/tools."""

import json
import os
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tools import audit


@pytest.mark.scorecard("hashed-locks")
def test_every_lock_of_the_kit_has_the_hashes_of_its_packages() -> None:
    for path in [*(CHECKOUT / "requirements").glob("*.txt"), audit.GO / "requirements.txt"]:
        packages = list(audit.read_lock(path))
        assert packages
        assert all(package.hashes for package in packages), path
    for path in (CHECKOUT / "twins").rglob("package-lock.json"):
        packages = [entry for name, entry in json.loads(path.read_text())["packages"].items() if name]
        assert packages
        assert all(entry["integrity"].startswith("sha512-") for entry in packages), path


def scanner(folder: Path, name: str, output: str, code: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {code}\n")
    path.chmod(0o755)


@pytest.mark.scorecard("vulnerability-scan")
def test_images_and_modules_are_scanned_by_the_scanner_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    report = audit.scan()
    assert [line.partition(":")[0] for line in report.missed] == [
        "Go modules of the engine",
        "image training",
        "image training-tensorflow",
        "image serving",
        "image serving-vllm",
    ]
    assert report.code == 3
    scanner(tmp_path, "docker", "[]")
    match = {"artifact": {"name": "zlib", "version": "1"}, "vulnerability": {"id": "CVE-1", "severity": "High"}}
    scanner(tmp_path, "grype", json.dumps({"matches": [match]}))
    assert "image serving: zlib 1: CVE-1 (high)" in audit.scan().findings
    each = {"PkgName": "zlib", "InstalledVersion": "1", "VulnerabilityID": "CVE-2", "Severity": "LOW"}
    scanner(tmp_path, "trivy", json.dumps({"Results": [{"Vulnerabilities": [each]}, {}]}))
    report = audit.scan()
    assert [line.rpartition(": ")[2] for line in report.findings] == ["CVE-2 (low)"] * 5
    assert (report.missed, report.code) == ([], 1)
    scanner(tmp_path, "trivy", "FATAL: failed to download the database", code=1)
    assert len(audit.scan().missed) == 5
