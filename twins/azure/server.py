"""The long-lived process of a twin: its services behind TLS, on ports of 127.0.0.1."""

import importlib
import pkgutil

from twins.azure.twin import Twin


def install(twin: Twin) -> None:
    """Plug in the platform's own parts, the services and the judges."""
    from twins.azure import operations, principals, services

    operations.install(twin)
    principals.install(twin)
    for module in sorted(pkgutil.iter_modules(services.__path__), key=lambda m: m.name):
        service = importlib.import_module(f"twins.azure.services.{module.name}")
        if hasattr(service, "install"):
            service.install(twin)
