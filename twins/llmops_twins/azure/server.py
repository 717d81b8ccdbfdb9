"""The long-lived process of a twin: its services behind TLS, on ports of 127.0.0.1."""

import importlib
from pathlib import Path

from llmops_twins.azure.twin import TenantTwin, TwinSettings
from llmops_twins.core.process import Process, prepare

SERVICES = (
    "monitor.services.applicationinsights",
    "services.authorization",
    "services.consumption",
    "services.containerregistry",
    "services.keyvault",
    "ml_provider",
    "ml.assets",
    "ml.computes",
    "ml.datastores",
    "ml.deployments",
    "ml.endpoints",
    "ml.command_jobs",
    "ml.networks",
    "ml.schedules",
    "ml.sizes",
    "ml.workspaces",
    "services.managedidentity",
    "monitor.services.monitor",
    "services.network",
    "monitor.services.operationalinsights",
    "services.resources",
    "services.storage",
)
"""The modules that add kinds and actions to a twin."""
MAIN = "main"
"""The name of the listener for Resource Manager, the token service and the metadata."""


def serve(home: Path, port: int, settings: TwinSettings, location: str, stand_in: bool) -> None:
    """Serves the twin of a folder until SIGTERM or SIGINT. Its state is saved then, and soon after each change."""
    stopped = prepare(home)
    from llmops_kit.local_runtime.ports import choose_port
    from llmops_twins.azure.entra import certificates
    from llmops_twins.azure.listeners import BIND, Listeners
    from llmops_twins.azure.main_port import ManagerApp
    from llmops_twins.azure.persistence import StateKeeper

    listeners = Listeners(home)
    port = port or choose_port(BIND)
    twin = TenantTwin(home, settings, f"https://localhost:{port}")
    twin.listen, twin.unlisten = listeners.add, listeners.end
    install(twin)
    keeper = StateKeeper(twin)
    if not keeper.load():
        twin.seed()
    twin.resume()
    facts = {"subscription": twin.subscription, "tenant": twin.tenant, "location": location}
    trusted = {"SSL_CERT_FILE": str(certificates.bundle(home))}
    process = Process(twin, twin.url, "azure-native", "llmops_twins.plugins.azure_native", lambda: facts, trusted)
    twin.describe = lambda: {**process.described(), **keeper.described()}
    keeper.start()
    twin.start()
    listeners.add(MAIN, ManagerApp(twin), port=port)
    process.run(stopped, stand_in)
    listeners.close()
    twin.close()
    keeper.close()


def install(twin: TenantTwin) -> None:
    """Registers the platform's own components, and the services."""
    from llmops_twins.azure import faults, metadata
    from llmops_twins.azure.arm import operations
    from llmops_twins.azure.entra import identity_endpoints, principals, token_service

    for part in (faults, operations, principals, metadata, token_service, identity_endpoints):
        part.install(twin)
    for name in SERVICES:
        importlib.import_module(f"llmops_twins.azure.{name}").install(twin)
