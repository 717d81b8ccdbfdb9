"""The long-lived process of a twin: moto behind the pipeline, on a port of 127.0.0.1."""

import importlib
import os
import pkgutil
import resource
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType

from contract.twin import TWIN_ACCOUNT
from twins.aws.twin import Twin, TwinSettings

BIND = "127.0.0.1"


def serve(home: Path, port: int, settings: TwinSettings, region: str, stand_in: bool) -> None:
    """Serve the twin of a folder until SIGTERM or SIGINT; its state is written then, and soon after each change."""
    os.umask(0o077)
    os.environ.update(MOTO_ACCOUNT_ID=TWIN_ACCOUNT, MOTO_ALLOW_NONEXISTENT_REGION="true")
    # moto's public machine images are most of a state that is written again and again, and nothing here starts one.
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    # No page of another site, in a browser of this machine, may read what moto answers.
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    warnings.filterwarnings("ignore", message="Exception.* does not match an error shape")
    warnings.filterwarnings("ignore", category=ResourceWarning)  # objects of S3 that a reset drops
    sys.setswitchinterval(0.001)  # a stream's next piece waits no longer than that for a thread that computes
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # an open file for each object that is read
    from werkzeug.serving import make_server

    from twins.aws.front import Front
    from twins.aws.handler import Handler
    from twins.aws.persistence import Keeper
    from twins.aws.process import Process
    from twins.aws.services import sagemaker_fleet

    stopped = _stop_signals()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    twin = Twin(home, settings, region)
    install(twin)
    keeper = Keeper(twin)
    if not keeper.load():
        twin.seed()
    server = make_server(BIND, port, Front(twin), threaded=True, request_handler=Handler)
    process = Process(twin, f"http://{BIND}:{server.server_port}")
    twin.describe = lambda: {**process.described(), "not_kept": keeper.failure}
    keeper.start()
    sagemaker_fleet.resume(twin)
    twin.start()
    threading.Thread(target=server.serve_forever, args=[0.05], name="http", daemon=True).start()
    process.run(stopped, stand_in)
    server.shutdown()
    twin.close()
    keeper.close()


def install(twin: Twin) -> None:
    """Plug in the services and the judges."""
    from twins.aws import principals, services
    from twins.aws.judges.permissions import PermissionJudge
    from twins.aws.judges.quotas import QuotaJudge

    principals.install(twin)
    for module in sorted(pkgutil.iter_modules(services.__path__), key=lambda m: m.name):
        service = importlib.import_module(f"twins.aws.services.{module.name}")
        if hasattr(service, "install"):
            service.install(twin)
    permissions = PermissionJudge(twin)
    twin.judges.extend([permissions, QuotaJudge(twin, permissions)])
    twin.judge_of_roles = permissions.may
    twin.judge_of_calls = permissions.may_call
    twin.judge_of_policies = permissions.would_allow
    twin.judge_of_services = permissions.service_may
    twin.closers.extend([twin.fleet.close, permissions.close])


def _stop_signals() -> threading.Event:
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopped
