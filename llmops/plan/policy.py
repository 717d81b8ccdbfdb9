"""The deployer's exact IAM policy: recorded while a stack lives its whole life on a twin of its own.

The life is one of the stack's own program and settings: up, a change of each kind, a look at drift, down, up again,
down with its data. Only what the deployer's own calls needed is written; nothing is added by hand.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contract.digest import file_entries
from contract.errors import KitError, require_packages
from contract.model import GateResult, Golden, Lineage, Message, ModelManifest
from contract.outputs import StackOutputs
from llmops.platforms.base import Say
from llmops.project import Project
from llmops.stacks import PulumiStack
from llmops.store import now

_IMAGES = {name: f"process:{name}@sha256:{'0' * 64}" for name in ("training", "serving")}
_SOME_ENDPOINT = "chatbot"
_SOME_TYPES = ("ml.m5.xlarge", "ml.m5.2xlarge")


def record_policy(stack: PulumiStack, say: Say) -> dict[str, Any]:
    """Let the stack live on a twin, and write down what its deployer was allowed to do there.

    Returns:
        An IAM policy, for the account and region of the stack; `*` for what is not known without credentials.

    Raises:
        KitError: the stack is not on AWS, or its program fails on the twin (with its words).
    """
    require_packages("aws-twin", "moto", "flask", "boto3", "pulumi_aws")
    if stack.target != "aws":
        raise KitError("only a stack on AWS has a deployer with a policy", where=str(stack.file.path), fix="--stack")
    from twins.aws import control
    from twins.aws.judges.recording import policy_document

    account, region, partition = _place(stack)
    with tempfile.TemporaryDirectory(prefix="llmops-policy-") as temporary:
        home = Path(temporary) / "twin"
        say("recording on a twin of its own (a minute or two)")
        region_here = "us-east-1" if region == "*" else region
        control.up(home, judge="strict", pace=0.0, region=region_here, containers="none")
        try:
            life = _Life(stack, Path(temporary) / "project", control.environment(home), say)
            life.live()
            records = life.records()
        finally:
            control.down(home)
    return policy_document(records, account=account, region=region, partition=partition)


def _place(stack: PulumiStack) -> tuple[str, str, str]:
    """Account, region and partition that the policy is for."""
    from llmops.platforms.aws.preflight import clients_of

    try:
        caller = clients_of(stack).caller
    except KitError:
        aws = stack.file.config().get("aws") or {}
        return "*", str(aws.get("region") or os.environ.get("AWS_REGION") or "*"), "aws"
    return caller.account, caller.region, caller.arn.split(":")[1]


class _Life:
    """A copy of the project with the stack of the same name, on the twin."""

    def __init__(self, stack: PulumiStack, folder: Path, environment: Mapping[str, str | None], say: Say) -> None:
        self.name = stack.name.rpartition("/")[2]
        self.folder = folder
        self.say = say
        self.moved: dict[str, str] = {}  # what was given to the stack: on the twin -> in the account
        self._root = _merged(environment)
        self._project = stack.project.name
        self._config: dict[str, Any] = {}
        _copy_project(stack, folder)
        with _entered(self._root):
            self._deployer, self._arn = _make_deployer()
            self._on_the_twin(stack)

    def live(self) -> None:
        """From the first `up` to the last."""
        endpoints = self._config.pop("endpoints", None)
        if not endpoints:
            self.say(f"the stack has no endpoint yet: recording with one named {_SOME_ENDPOINT}; record again later")
            endpoints = {_SOME_ENDPOINT: {}}
        self._deploy("deploying without endpoints")
        first, second = self._seed("1"), self._seed("2")
        self._config["endpoints"] = {n: {**e, "model": first, "gate": "waived"} for n, e in endpoints.items()}
        self._deploy("deploying endpoints")
        self._change(second)
        self._deploy("changing versions, sizes, instance types and tags")
        self.say("looking for drift")
        self._run("plan")
        self._run("up", "--refresh")
        self._run("status")
        self.say("taking it down while a job runs, and up again")
        self._start_job()
        self._run("down")
        self._run("up")
        del self._config["endpoints"]
        self._deploy("taking the endpoints out")
        self.say("taking it down with its data")
        self._run("down", "--data", self.name)

    def _change(self, version: str) -> None:
        """Change what can be changed of endpoints, and something of everything else."""
        aws = self._config.setdefault("aws", {})
        for entry in self._config["endpoints"].values():
            entry["model"] = version
            size = entry["size"] = dict(entry.get("size") or {})
            size["instances"] = int(size.get("instances", 1)) + 1
            if size.get("max_instances"):
                size["max_instances"] = max(int(size["max_instances"]), size["instances"] + 1)
            before = size.get("instance_type") or aws.get("instance_type")
            size["instance_type"] = next(t for t in _SOME_TYPES if t != before)
        aws["tags"] = {**aws.get("tags", {}), "recorded": "yes"}

    def records(self) -> list[dict[str, Any]]:
        """What the deployer's calls needed."""
        import json
        from urllib.request import urlopen

        with urlopen(f"{self._root['AWS_ENDPOINT_URL']}/_twin/recorded", timeout=30) as answer:
            found = json.load(answer)["recorded"]
        return [r | {"resource": self._named(r["resource"])} for r in found if r["principal"] == self._arn]

    def _named(self, resource: str) -> str:
        """A resource by the name that it has in the account, where it was given to the stack."""
        for on_the_twin, in_the_account in self.moved.items():
            resource = resource.replace(on_the_twin, in_the_account)
        return resource

    def _deploy(self, words: str) -> None:
        self.say(words)
        self._write()
        self._run("up")

    def _write(self) -> None:
        from ruamel.yaml import YAML

        path = self.folder / f"Pulumi.{self.name}.yaml"
        document = YAML(typ="safe", pure=True).load(path)  # with what the engine wrote into it
        document["config"] = {f"{self._project}:{key}": value for key, value in self._config.items()}
        YAML(typ="safe", pure=True).dump(document, path)

    def _run(self, *words: str) -> None:
        answer = subprocess.run(
            [sys.executable, "-m", "llmops", *words, "--stack", self.name],
            cwd=self.folder,
            env=self._deployer,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            lines = [line for line in (answer.stdout + answer.stderr).splitlines() if line.strip()]
            raise KitError(
                f"`llmops {words[0]}` failed on the twin, so nothing was recorded:\n" + "\n".join(lines[-15:]),
                where=f"stack {self.name}",
                fix="see to what it names; the same happens on `llmops twin aws up`",
            )

    def _seed(self, content: str) -> str:
        """Put a model version into the twin's store, as root: that is not the deployer's work."""
        from llmops.platforms.aws.given import fill
        from llmops.platforms.registry import open_platform

        with _entered(self._root), tempfile.TemporaryDirectory() as temporary:
            outputs: StackOutputs = PulumiStack(Project(self.folder), self.name).outputs()
            platform = open_platform(outputs)
            fill(outputs)
            return str(platform.store().put_model(_version(Path(temporary) / "version", content), platform.sign))

    def _start_job(self) -> None:
        """As root, too."""
        from llmops.platforms.aws.given import start_job

        with _entered(self._root):
            start_job(PulumiStack(Project(self.folder), self.name).outputs())

    def _on_the_twin(self, stack: PulumiStack) -> None:
        """Make on the twin what the stack finds in its account: its state's place, and what was given to it."""
        from llmops.platforms.aws.bootstrap import bootstrap
        from llmops.platforms.aws.clients import Clients
        from llmops.platforms.aws.given import make_given

        config = dict(stack.file.config())
        config["aws"], self.moved = make_given(dict(config.get("aws") or {}))
        self._config = config | {"images": _IMAGES}
        backend = stack.backend
        if backend.startswith("https://"):
            return  # Pulumi's own service: no matter of AWS
        made = bootstrap(Clients(), self._project, lambda _: None).names
        for environ in (self._root, self._deployer):
            environ["PULUMI_BACKEND_URL"] = made.backend
            environ.pop("PULUMI_CONFIG_PASSPHRASE", None)
        if backend.startswith("s3://"):
            self.moved[made.bucket] = urlsplit(backend).netloc


def _copy_project(stack: PulumiStack, folder: Path) -> None:
    """Everything of the project by links, but its state and its stacks."""
    folder.mkdir()
    for path in stack.project.folder.iterdir():
        if path.name != ".llmops" and not (path.name.startswith("Pulumi.") and path.name != "Pulumi.yaml"):
            (folder / path.name).symlink_to(path)
    (folder / "Pulumi.yaml").unlink()
    shutil.copyfile(stack.project.folder / "Pulumi.yaml", folder / "Pulumi.yaml")
    (folder / f"Pulumi.{stack.name.rpartition('/')[2]}.yaml").write_text("config: {}\n")


def _merged(changes: Mapping[str, str | None]) -> dict[str, str]:
    environ = {k: v for k, v in os.environ.items() if k not in changes}
    return environ | {k: v for k, v in changes.items() if v is not None}


@contextmanager
def _entered(environ: Mapping[str, str]) -> Iterator[None]:
    """This process is a client with that environment meanwhile."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _make_deployer() -> tuple[dict[str, str], str]:
    """A user that may do everything, so that every call of its shows what it takes: its environment and ARN."""
    import json

    from llmops.platforms.aws.clients import Clients

    iam = Clients()("iam")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    arn = iam.create_user(UserName="deployer")["User"]["Arn"]
    iam.put_user_policy(UserName="deployer", PolicyName="all", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    credentials = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return dict(os.environ) | credentials, arn


def _version(folder: Path, content: str) -> Path:
    """A model version that no server could load: nothing is started where it is used."""
    folder.mkdir()
    (folder / "model.safetensors").write_text(content)
    ModelManifest.new(
        name=_SOME_ENDPOINT,
        created=now(),
        engines=["transformers"],
        dtype="BF16",
        files=file_entries(folder),
        lineage=Lineage(),
        gate=GateResult(passed=True, reasons=[]),
        golden=[Golden(messages=[Message(role="user", content="hi")], expect=[])],
    ).write(folder / "manifest.json")
    return folder
