"""Every setting, on every target: a change changes what a provider acts on, or is refused by the setting's name."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pulumi
import pytest

from llmops_kit.core.document import Part
from llmops_kit.core.limits import AdmissionLimits
from llmops_kit.infra.targets.local.providers import endpoints
from llmops_kit.settings.stack_settings import Settings
from tests.support.checkout import CHECKOUT
from tests.unit.infra.aws.conftest import REGION, RUN, SERVING, TRAINING, Account, on_moto
from tests.unit.infra.program import Declared, add_version, run_program

ARN = "arn:aws:iam::123456789012"
KEY = "arn:aws:kms:eu-central-1:123456789012:key"
OTHER = SERVING.replace("5" * 64, "6" * 64)
NETWORK = {"subnet_ids": ["subnet-1", "subnet-2"], "security_group_ids": ["sg-1"]}
SCHEDULE = {"run": RUN, "cron": "rate(7 days)"}
ENTRY = "endpoints.chat."
SIZE, ROLLOUT, LIMITS = f"{ENTRY}size.", f"{ENTRY}rollout.", f"{ENTRY}limits."
AWS, WEEKLY, JOBS = "aws.", "aws.schedules.weekly.", "aws.jobs."
TRUSTED = {
    "sha256:dc0ce633dbcc913dafafa4b89ac44d8ce683fdfc3f60c8bdf21213b9f2b534ba": (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfPJ7GI0DT36KUjgDBLUaw8CJaeJ38hs1pgtI/EdmmXgH"
        "d1UQ247QQCk9msafdDDbun2t5jzpgimeBLedInhz0Q=="
    )
}
REPEATED = {"aws.schedules": {"weekly": SCHEDULE}}

# Path -> from, to, and what else must be set for it to matter.
WALK: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "target": ("local", "gcp", {}),
    "local_home": (".llmops", "elsewhere", {}),
    "local_runtime": ("process", "docker", {}),
    "expires": ("", "2026-12-31", {}),
    "production": (False, True, {}),
    "signing.keys": (1, 2, {}),
    "signing.trusted": ({}, TRUSTED, {}),
    "signing.revoked": ({}, dict.fromkeys(TRUSTED, "stolen"), {"signing.trusted": TRUSTED}),
    "accepted_rules": ({}, {"encrypted": "no data of ours"}, {}),
    "images.training": ("", TRAINING, {f"{AWS}schedules": {"weekly": SCHEDULE}}),
    "images.training_tensorflow": ("", OTHER, {}),
    "images.serving": (SERVING, OTHER, {}),
    "images.serving_vllm": ("", OTHER, {"images.serving": "", f"{SIZE}instance_type": "ml.g5.xlarge"}),
    f"{ENTRY}model": (1, 2, {}),
    f"{ENTRY}endpoint": (True, False, {}),
    f"{ENTRY}engine": ("auto", "openvino", {}),
    f"{ENTRY}precision": ("f32", "bf16", {}),
    f"{ENTRY}prefix_cache": (False, True, {}),
    f"{ENTRY}port": (0, 8765, {}),
    f"{ENTRY}gate": ("waived", "required", {}),
    f"{ENTRY}mode": ("realtime", "async", {}),
    f"{ENTRY}volume_gb": (0, 40, {}),
    f"{ENTRY}start_seconds": (600, 900, {}),
    f"{ENTRY}download_seconds": (600, 900, {}),
    f"{ENTRY}inference_ami_version": ("", "al2-ami-sagemaker-inference-gpu-3-1", {}),
    f"{SIZE}instances": (1, 2, {}),
    f"{SIZE}max_instances": (0, 3, {}),
    f"{SIZE}concurrent_requests": (4, 5, {f"{SIZE}max_instances": 3}),
    f"{SIZE}instance_type": ("", "ml.g5.xlarge", {}),
    f"{ROLLOUT}strategy": ("canary", "all_at_once", {f"{SIZE}instances": 2}),
    f"{ROLLOUT}canary_percent": (10, 20, {f"{SIZE}instances": 2, f"{ROLLOUT}strategy": "canary"}),
    f"{ROLLOUT}step_percent": (25, 30, {f"{SIZE}instances": 4, f"{ROLLOUT}strategy": "linear"}),
    f"{ROLLOUT}mirror_percent": (0, 10, {}),
    f"{ROLLOUT}bake_seconds": (1, 2, {f"{ROLLOUT}strategy": "canary"}),
    f"{ROLLOUT}extra_bakes": (2, 3, {f"{ROLLOUT}strategy": "canary"}),
    f"{ROLLOUT}on_inconclusive": ("promote", "roll_back", {f"{ROLLOUT}strategy": "canary"}),
    f"{LIMITS}max_body": (6_291_456, 100_000, {}),
    f"{LIMITS}max_running": (32, 8, {}),
    f"{LIMITS}max_queue": (64, 0, {}),
    f"{LIMITS}max_queue_tokens": (262_144, 4096, {}),
    f"{LIMITS}request_seconds": (300.0, 40.0, {}),
    f"{LIMITS}stream_seconds": (300.0, 60.0, {}),
    f"{LIMITS}api_keys_file": ("", "keys/api.json", {}),
    f"{LIMITS}metrics_key_file": ("", "keys/metrics.key", {}),
    f"{LIMITS}memory_mb": (0, 1024, {}),
    f"{AWS}region": ("", "eu-west-1", {f"{AWS}store_bucket": "the-store"}),
    f"{AWS}profile": ("", "other", {}),
    f"{AWS}permissions_boundary_arn": ("", f"{ARN}:policy/boundary", {}),
    f"{AWS}tags": ({}, {"team": "chat"}, {}),
    f"{AWS}kms_key_arn": ("", f"{KEY}/1", {}),
    f"{AWS}signing_key_arn": ("", f"{KEY}/2", {}),
    f"{AWS}store_bucket": ("", "the-store", {}),
    f"{AWS}work_bucket": ("", "the-work", {}),
    f"{AWS}registry": ("", "210987654321.dkr.ecr.eu-west-1.amazonaws.com/team", {}),
    f"{AWS}instance_type": ("ml.m5.xlarge", "ml.m5.2xlarge", {}),
    f"{AWS}log_retention_days": (365, 30, {}),
    f"{AWS}runs_days": (90, 30, {}),
    f"{AWS}roles.training": ("", f"{ARN}:role/training", {}),
    f"{AWS}roles.endpoint": ("", f"{ARN}:role/endpoint", {}),
    f"{AWS}roles.scheduler": ("", f"{ARN}:role/scheduler", {}),
    f"{AWS}network.mode": ("none", "own", {}),
    f"{AWS}network.cidr": ("10.42.0.0/16", "10.43.0.0/16", {f"{AWS}network.mode": "own"}),
    f"{AWS}network.zones": ([], ["eu-central-1c", "eu-central-1b"], {f"{AWS}network.mode": "own"}),
    f"{AWS}network.interface_endpoints": ([], ["kms"], {f"{AWS}network.mode": "own"}),
    f"{AWS}network.subnet_ids": (["subnet-3"], ["subnet-4"], {f"{AWS}network": {"mode": "existing", **NETWORK}}),
    f"{AWS}network.security_group_ids": (["sg-3"], ["sg-4"], {f"{AWS}network": {"mode": "existing", **NETWORK}}),
    f"{AWS}audit": (False, True, {}),
    f"{AWS}alarms.error_rate": (0.05, 0.1, {}),
    f"{AWS}alarms.latency_seconds": (20.0, 5.0, {}),
    f"{AWS}alarms.quality": (1.0, 0.5, {}),
    f"{AWS}budget.monthly_usd": (100, 0, {}),
    f"{AWS}budget.emails": ([], ["you@example.com"], {}),
    f"{JOBS}instance_type": ("ml.m5.xlarge", "ml.g5.xlarge", REPEATED),
    f"{JOBS}instances": (1, 2, REPEATED),
    f"{JOBS}spot": (False, True, REPEATED),
    f"{JOBS}max_hours": (24, 12, REPEATED),
    f"{JOBS}max_wait_hours": (0, 30, REPEATED | {f"{JOBS}spot": True}),
    f"{JOBS}volume_gb": (50, 100, REPEATED),
    f"{JOBS}warm_pool_minutes": (0, 10, REPEATED),
    f"{WEEKLY}run": (RUN, "chatbot-0002", {f"{AWS}schedules": {"weekly": SCHEDULE}}),
    f"{WEEKLY}cron": ("rate(7 days)", "cron(0 3 ? * SUN *)", {f"{AWS}schedules": {"weekly": SCHEDULE}}),
    f"{WEEKLY}timezone": ("UTC", "Europe/Berlin", {f"{AWS}schedules": {"weekly": SCHEDULE}}),
    f"{WEEKLY}instance_type": ("ml.m5.xlarge", "ml.g5.xlarge", {f"{AWS}schedules": {"weekly": SCHEDULE}}),
    f"{WEEKLY}max_hours": (24, 2, {f"{AWS}schedules": {"weekly": SCHEDULE}}),
    f"{WEEKLY}on": (True, False, {f"{AWS}schedules": {"weekly": SCHEDULE}}),
}
HONOURED_LOCALLY = (
    *("target", "local_home", "local_runtime"),
    *("signing.keys", "signing.trusted", "signing.revoked"),
    *(
        ENTRY + f
        for f in ("model", "endpoint", "engine", "precision", "prefix_cache", "port", "gate", "size.instances")
    ),
    *(ROLLOUT + f for f in ("strategy", "canary_percent", "bake_seconds", "extra_bakes", "on_inconclusive")),
    *(LIMITS + f for f in (*AdmissionLimits.model_fields, "api_keys_file", "metrics_key_file", "memory_mb")),
)
# Read by what judges a stack: tests/unit/policies and tests/unit/settings/test_production.py.
FOR_THE_RULES = ("accepted_rules", "production")
FOR_RUNS = ("images.training_tensorflow",)  # read by `llmops train`: tests/unit/cli/runs/test_tensorflow.py
# What a provider acts on in other ways than by a resource's inputs: default tags are the provider's own.
ON_THE_PROVIDER = ("expires", f"{AWS}profile", f"{AWS}tags")


def test_the_walk_is_complete() -> None:
    """Compares its steps with all settings but those of Azure, which tests/emulated/infra/test_azure_walk.py walks."""
    assert sorted(path for path in leaves(Settings, "") if not path.startswith("azure.")) == sorted(WALK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One project for a whole walk, since nothing is made in it, as the current folder."""
    found = tmp_path_factory.mktemp("walk").resolve()
    shutil.copy(CHECKOUT / "Pulumi.yaml", found)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        yield found


@pytest.fixture(scope="module")
def promoted_locally(folder: Path) -> dict[int, str]:
    """Number -> version in the store of this machine."""
    found = {home: _promote(folder / home / "demo/store") for home in (".llmops", "elsewhere")}[".llmops"]
    (folder / "keys").mkdir()
    (folder / "keys/api.json").write_text('{"schema": "keys/1", "keys": []}')
    (folder / "keys/metrics.key").write_text("a-key-for-those-who-scrape")
    return found


@pytest.mark.parametrize("path", WALK)
def test_local_acts_or_refuses_by_name(path: str, promoted_locally: dict[int, str]) -> None:
    before, after, needed = WALK[path]
    second = _configuration(path, after, promoted_locally, needed)
    if path in HONOURED_LOCALLY:
        _compare(path, _configuration(path, before, promoted_locally, needed), second)
        _require_hosted(second)
    else:
        _compare(path, _configuration(f"{ENTRY}gate", "waived", promoted_locally, {}), second)
        assert isinstance(_acted_on(second, path), str)


def _require_hosted(config: dict[str, Any]) -> None:
    """Check that the local runtime takes what the program declares: a preview never calls it."""
    if isinstance(declared := _run(config), str):
        return
    inputs = json.loads(json.dumps(declared.of("endpoint-chat")), parse_int=float)  # as the engine hands them on
    key = Path(inputs["key_file"])
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text("a-key-of-16-characters")
    spec = endpoints._spec(inputs)
    assert spec.rollout.model_dump(include=set(inputs["rollout"])) == inputs["rollout"]


@pytest.fixture(scope="module")
def promoted(folder: Path) -> Iterator[dict[int, str]]:
    """One account for the whole walk on AWS: number -> version in its store."""
    (folder / "config").write_text("[profile other]\naws_access_key_id = a\naws_secret_access_key = b\n")
    with pytest.MonkeyPatch.context() as patch, on_moto(patch):
        patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
        account = Account(folder)
        found = {number: account.add_version(f"chatbot@{number}", passed=False) for number in (1, 2)}
        _copy_store(account, "the-store")
        for run in (RUN, "chatbot-0002"):
            account.add_run(run)
        yield found


@pytest.mark.parametrize("path", [path for path in WALK if path not in ("target", *FOR_THE_RULES, *FOR_RUNS)])
def test_aws_acts_or_refuses_by_name(path: str, promoted: dict[int, str]) -> None:
    before, after, needed = WALK[path]
    base = {"target": "aws", "images.serving": SERVING, "images.training": TRAINING}
    settings = base | needed
    # What is a default is left out: most steps of the walk begin with the same program then, which runs once.
    left_out = before == DEFAULTS[path] and path not in settings
    first = _common(promoted, settings) if left_out else _configuration(path, before, promoted, settings)
    second = _configuration(path, after, promoted, settings)
    _compare(path, first, second)
    for name in ("model-chat", "configuration-chat"):
        one, other = (_content(config, name) for config in (first, second))
        if one and other:
            assert (one[0] == other[0]) == (one[1] == other[1]), "another content has another name, or can't be made"


def _content(config: dict[str, Any], name: str) -> tuple[str, dict[str, Any]] | None:
    """Name and content of a SageMaker model or configuration."""
    declared = _run(config)
    if isinstance(declared, str) or not declared.has(name):
        return None
    inputs = dict(declared.of(name))
    return inputs.pop("name"), inputs


def _compare(path: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    first, second = _acted_on(before, path), _acted_on(after, path)
    assert first != second
    refusals = [text for text in (first, second) if isinstance(text, str)]
    for text in refusals:
        named = path.rpartition(".")[0] if WALK[path][2] else path  # what it needs may be refused first
        assert f"llmops:{named.removesuffix('.weekly')}" in text
        assert "fix: " in text
    assert len(refusals) < 2


def _common(promoted: dict[int, str], needed: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {"endpoints": {"chat": {"model": promoted[1], "gate": "waived"}}}
    for place, given in needed.items():
        _put(config, place, given)
    return config


def _configuration(path: str, value: Any, promoted: dict[int, str], needed: dict[str, Any]) -> dict[str, Any]:
    config = _common(promoted, needed)
    _put(config, path, promoted[value] if path == f"{ENTRY}model" else value)
    return config


def _put(config: dict[str, Any], path: str, value: Any) -> None:
    *folders, last = path.split(".")
    node: Any = config
    for folder in folders:
        node = node.setdefault(folder, {})
    node[last] = {**value} if isinstance(value, dict) else value
    for key, inner in value.items() if isinstance(value, dict) else ():
        node[last][key] = {**inner} if isinstance(inner, dict) else inner


_known: dict[str, Declared | str] = {}  # most steps of a walk begin at the same place


def _run(config: dict[str, Any]) -> Declared | str:
    key = json.dumps(config, sort_keys=True)
    if key not in _known:
        try:
            _known[key] = run_program(config)
        except pulumi.RunError as refusal:
            _known[key] = str(refusal)
    return _known[key]


def _acted_on(config: dict[str, Any], path: str) -> dict[str, dict[str, Any]] | str:
    """Inputs that providers act on (a provider's diff compares all of its inputs), or the words of a refusal."""
    declared = _run(config)
    if isinstance(declared, str):
        return declared
    left_out = () if path in ON_THE_PROVIDER else ("providers:aws",)
    return {
        urn: {k: v for k, v in inputs.items() if k not in ("url", "tags", "description")}
        for urn, inputs in declared.resources.items()
        if not any(kind in urn for kind in left_out)
    }


def leaves(model: type[Part], prefix: str) -> Iterator[str]:
    """Yields the dotted paths of all settings, with `chat` and `weekly` for a user's own names."""
    yield from defaults(model, prefix)


def defaults(model: type[Part], prefix: str) -> dict[str, Any]:
    """Returns dotted path -> default of all settings, with `chat` and `weekly` for a user's own names."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        arguments = get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, Part):
            found |= defaults(annotation, f"{prefix}{name}.")
        elif get_origin(annotation) is dict and isinstance(arguments[1], type) and issubclass(arguments[1], Part):
            found |= defaults(arguments[1], f"{prefix}{name}.{'chat' if name == 'endpoints' else 'weekly'}.")
        else:
            found[prefix + name] = field.get_default(call_default_factory=True)
    return found


DEFAULTS = defaults(Settings, "")


def _promote(store: Path) -> dict[int, str]:
    # The gate's walk needs a version that did not pass, so the others run waived.
    return {number: add_version(store, f"chatbot@{number}", passed=False) for number in (1, 2)}


def _copy_store(account: Account, name: str) -> None:
    place = {"LocationConstraint": REGION}
    account.s3.create_bucket(Bucket=name, CreateBucketConfiguration=place)
    for item in account.s3.list_objects_v2(Bucket=account.bucket("store"))["Contents"]:
        account.s3.copy_object(
            Bucket=name, Key=item["Key"], CopySource={"Bucket": account.bucket("store"), "Key": item["Key"]}
        )
