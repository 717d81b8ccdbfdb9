"""`twins azure …` on a twin that runs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmops_twins.azure import control
from llmops_twins.cli import make_app


def twins(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(make_app(), ["azure", *words])
    return result.exit_code, result.stdout


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "twin")


def test_the_life_of_a_twin(home: str) -> None:
    assert twins("status", "--home", home)[0] == 1
    try:
        code, text = twins("up", "--home", home, "--containers", "none", "--location", "northeurope", "--json")
        told = json.loads(text)
        assert (code, told["location"], told["containers"]) == (0, "northeurope", "none")
        code, text = twins("status", "--home", home)
        assert code == 0
        assert "Microsoft.Resources/subscriptions: 1" in text
        variables = json.loads(twins("env", "--home", home, "--json")[1])
        assert variables["ARM_CLOUD_METADATA_URL"].startswith(told["url"])
        assert variables["ARM_LOCATION"] == "northeurope"
        assert variables["AZURE_CLIENT_SECRET"] is None
        assert "unset AZURE_CLIENT_SECRET\n" in twins("env", "--home", home)[1]
        assert Path(variables["SSL_CERT_FILE"]).read_text().endswith((Path(home) / "tls/ca.pem").read_text())
    finally:
        assert twins("down", "--home", home)[0] == 0
    assert json.loads(twins("down", "--home", home, "--json")[1])["ran"] is False
    code, text = twins("reset", "--home", home)
    assert (code, "is empty" in text) == (0, True)


def test_faults(home: str) -> None:
    try:
        twins("up", "--home", home, "--containers", "none")
        code, text = twins("fault", "throttle", "operation=*/write", "times=2", "--home", home)
        assert (code, text) == (0, "from now on: calls fail with 429 and Retry-After\n")
        listed = json.loads(twins("faults", "--home", home, "--json")[1])
        assert listed == [{"fault": "throttle", "service": "*", "operation": "*/write", "times": 2, "met": 0}]
        kinds = json.loads(twins("faults", "--kinds", "--home", home, "--json")[1])
        assert {"throttle", "role_propagation", "capacity", "failure"} <= {each["fault"] for each in kinds}
        assert json.loads(twins("faults", "--clear", "--home", home, "--json")[1]) == []
        assert control.faults(Path(home)) == {}
    finally:
        control.down(Path(home))
