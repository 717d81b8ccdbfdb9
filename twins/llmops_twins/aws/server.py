"""The long-lived process of a twin: moto behind the pipeline, on a port of 127.0.0.1."""

import importlib
import os
import threading
import warnings
from pathlib import Path

from llmops_kit.core.twins import TWIN_ACCOUNT
from llmops_twins.aws.twin import AccountTwin, TwinSettings
from llmops_twins.core.process import Process, prepare

BIND = "127.0.0.1"
_SERVICES = (
    "sagemaker.application_autoscaling",
    "services.budgets",
    "services.cloudtrail",
    "services.cloudwatch.cloudwatch",
    "services.cost_explorer",
    "services.ec2.ec2",
    "services.ec2.vpc_endpoints",
    "services.ecr.ecr",
    "identity.iam",
    "services.kms",
    "services.logs.logs",
    "services.nothing_there",
    "services.not_judged",
    "buckets",
    "services.s3.s3",
    "services.s3.copies",
    "sagemaker.fleet.fleet",
    "sagemaker.control_plane",
    "sagemaker.data_plane",
    "sagemaker.endpoints.scaling",
    "services.scheduler",
    "services.secretsmanager",
    "services.service_quotas",
    "services.sns",
    "services.sqs",
    "services.sts",
    "services.tagging",
)


def serve(home: Path, port: int, settings: TwinSettings, region: str, stand_in: bool) -> None:
    """Serves the twin of a folder until SIGTERM or SIGINT. Its state is saved then, and soon after each change."""
    stopped = prepare(home)
    os.environ.update(MOTO_ACCOUNT_ID=TWIN_ACCOUNT, MOTO_ALLOW_NONEXISTENT_REGION="true")
    # moto's public machine images would be most of each saved state, and nothing here uses them.
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    # Pages of other sites, in a browser on this machine, must not be able to read moto's answers.
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    warnings.filterwarnings("ignore", message="Exception.* does not match an error shape")
    warnings.filterwarnings("ignore", category=ResourceWarning)  # a reset drops open S3 objects
    from werkzeug.serving import make_server

    from llmops_twins.aws.persistence import AwsKeeper
    from llmops_twins.aws.request_pipeline import AwsFront
    from llmops_twins.aws.sagemaker.endpoints import containers
    from llmops_twins.aws.wire.handler import AwsRequestHandler

    twin = AccountTwin(home, settings, region)
    install(twin)
    keeper = AwsKeeper(twin)
    if not keeper.load():
        twin.seed()
    server = make_server(BIND, port, AwsFront(twin), threaded=True, request_handler=AwsRequestHandler)
    url = f"http://{BIND}:{server.server_port}"
    process = Process(twin, url, "aws", "llmops_twins.plugins.aws", lambda: {"account": twin.account, "region": region})
    twin.describe = lambda: {**process.described(), **keeper.described()}
    keeper.start()
    containers.resume(twin)
    twin.start()
    threading.Thread(target=server.serve_forever, args=[0.05], name="http", daemon=True).start()
    process.run(stopped, stand_in)
    server.shutdown()
    twin.close()
    keeper.close()


def install(twin: AccountTwin) -> None:
    """Registers services and judges."""
    from llmops_twins.aws.judges.permissions import AwsPermissionJudge
    from llmops_twins.aws.judges.quotas import QuotaJudge
    from llmops_twins.aws.services.ec2.ec2 import refuse_dry_run
    from llmops_twins.aws.wire import principals

    principals.install(twin)
    for name in _SERVICES:
        importlib.import_module(f"llmops_twins.aws.{name}").install(twin)
    permissions = AwsPermissionJudge(twin)
    twin.judges.extend([permissions, refuse_dry_run, QuotaJudge(twin, permissions)])
    twin.judge_of_roles = permissions.may
    twin.judge_of_calls = permissions.may_call
    twin.judge_of_policies = permissions.would_allow
    twin.judge_of_services = permissions.service_may
    twin.closers.append(permissions.close)
