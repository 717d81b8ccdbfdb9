"""The orders that a rehearsal gives to Azure's twin."""

from pathlib import Path

from llmops_kit.cli.rehearsal.clouds.azure_twin import AzureTwin
from llmops_twins.azure.entra.certificates import AUTHORITY, FOLDER
from tests.emulated.cli.azure.conftest import entered


def test_a_rehearsals_programs_trust_the_twin_alone(twin: Path) -> None:
    orders = AzureTwin(twin)
    environ = orders.environment()
    named = {environ[name] for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")}
    assert named == {str(twin / FOLDER / AUTHORITY)}
    with entered(twin, **environ):
        assert orders.ask("status")["pace"] == 0.05
