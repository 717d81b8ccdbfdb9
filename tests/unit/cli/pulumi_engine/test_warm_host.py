"""Which programs a warm host may serve."""

import os
import sys
from pathlib import Path

import pytest

from llmops_kit.cli.pulumi_engine.warm_host import fingerprint


def test_a_host_outlives_compiled_modules_but_no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    for name in ("pulumi-3.0.0.dist-info", "grpcio-1.0.0.dist-info"):
        (packages / name).mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    before = fingerprint({})
    (packages / "__pycache__").mkdir()
    os.utime(packages, ns=(1, 1))
    assert fingerprint({"PYTHONUNBUFFERED": "1"}) == before
    assert fingerprint({"PYTHONHASHSEED": "1"}) != before
    os.utime(packages / "pulumi-3.0.0.dist-info", ns=(before[1][1] + 1, before[1][1] + 1))
    reinstalled = fingerprint({})
    assert reinstalled != before
    (packages / "grpcio-1.0.0.dist-info").rmdir()
    assert fingerprint({}) not in (before, reinstalled)
