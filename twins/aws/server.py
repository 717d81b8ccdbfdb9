"""The long-lived process of a twin: moto behind the pipeline, on a port of 127.0.0.1."""

import importlib
import logging
import os
import pkgutil
import signal
import threading
import warnings
from pathlib import Path
from types import FrameType

from contract.twin import TWIN_ACCOUNT

BIND = "127.0.0.1"
log = logging.getLogger("twins.aws")


def serve(home: Path, port: int = 0) -> None:
    """Serve the twin of a folder until SIGTERM or SIGINT."""
    os.environ.update(MOTO_ACCOUNT_ID=TWIN_ACCOUNT, MOTO_ALLOW_NONEXISTENT_REGION="true")
    from werkzeug.serving import make_server

    from twins.aws.front import Front
    from twins.aws.handler import Handler
    from twins.aws.twin import Twin

    warnings.filterwarnings(
        "ignore", message="Exception.* does not match an error shape"
    )  # codes that botocore's models don't list
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    twin = Twin(home)
    install(twin)
    server = make_server(BIND, port, Front(twin), threaded=True, request_handler=Handler)
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    twin.start()
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    print(f"serving on http://{BIND}:{server.server_port}", flush=True)
    stopped.wait()
    server.shutdown()
    twin.close()


def install(twin: "object") -> None:
    """Plug in the services and the judges."""
    from twins.aws import principals, services
    from twins.aws.twin import Twin

    assert isinstance(twin, Twin)
    principals.install(twin)
    for module in sorted(pkgutil.iter_modules(services.__path__), key=lambda m: m.name):
        service = importlib.import_module(f"twins.aws.services.{module.name}")
        if hasattr(service, "install"):
            service.install(twin)
    try:
        from twins.aws.judges.permissions import PermissionJudge  # pyright: ignore[reportMissingImports]
        from twins.aws.judges.quotas import QuotaJudge  # pyright: ignore[reportMissingImports]
    except ImportError:
        log.warning("no judges")
        return
    permissions = PermissionJudge(twin)
    twin.judges.extend([permissions, QuotaJudge(twin)])
    twin.judge_of_roles = permissions.may
    twin.closers.append(permissions.close)
