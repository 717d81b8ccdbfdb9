"""Runs and endpoints on a twin that runs containers, by the command line. Rehearsals serve what a run has trained."""

import json
import os
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import boto3
import pytest
from ruamel.yaml import YAML

from llmops_kit.cli.platforms.aws.platform import AwsPlatform
from llmops_kit.cli.platforms.registry import open_platform
from llmops_kit.cli.runs.runs import collect, find_run
from llmops_kit.clouds.aws.job_requests import JobPlace, training_job
from llmops_kit.core.documents.model import GateResult, ModelManifest
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.core.documents.run import StoredSpec
from llmops_kit.core.errors import IntegrityError, KitError, RunError
from llmops_kit.core.hashes import sha256_bytes, sha256_file
from llmops_kit.core.layout import run_spec_key, schedule_key
from llmops_kit.local_runtime import process_images
from tests.emulated.llmops.conftest import RECIPE, Kit
from tests.support.checkout import CHECKOUT
from tests.support.clouds.aws import Account, AwsStack, make_stack, running_account
from tests.support.clouds.twin_keys import asked
from tests.support.runs.yes_rows import write_yes_rows
from tests.support.servers.agents import access_of, require_agents_work
from tests.support.tiny_models.models import agent_model, tiny_model

PRICED = "ml.g5.xlarge"
WITHOUT_EXPORT = "export: {openvino: false}\n"
CHECKPOINT = "*checkpoints/*/checkpoint-*/complete.json"


@dataclass
class World:
    """A deployed stack on a twin, whose store has the tiny model, and the command line in its project."""

    account: Account
    stack: AwsStack
    kit: Kit
    platform: AwsPlatform
    tiny: str = ""

    def started(self, *arguments: str) -> tuple[str, "subprocess.Popen[str]"]:
        """A `train` that goes on, and its run's id."""
        process = self.kit.start("train", "recipe.yaml", *arguments)
        return next(line.split()[1] for line in lines_of(process) if line.startswith("run ")), process


def deployed(stack: AwsStack) -> AwsPlatform:
    """The stack as it is deployed now."""
    found = open_platform(StackOutputs.parse(json.dumps(stack.outputs()), where="outputs"))
    assert isinstance(found, AwsPlatform)
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("training").resolve()
    built = {name: process_images.build(name, lambda _: None) for name in ("training", "serving")}
    with running_account(folder, containers="run", pace=0.05, region="us-east-1") as account:
        stack = make_stack(account, folder / "stack", "dev", images=built)
        recipe = RECIPE.replace("epochs: 12", "epochs: 24").replace("checkpoint_steps: 5", "checkpoint_steps: 10")
        (stack.folder / "recipe.yaml").write_text(recipe + WITHOUT_EXPORT)
        write_yes_rows(stack.folder)
        kit = Kit(stack.folder, account.environ | {"PULUMI_STACK": "dev"} | _user(account))
        with mock.patch.dict(os.environ, kit.environ, clear=True):
            made = World(account, stack, kit, deployed(stack))
            allow(made)
            ref = made.platform.store().put_model(tiny_model(), made.platform.sign)
            made.tiny = f"{ref.alias}@sha256:{ref.sha256}"
            yield made
        for process in kit.started:
            process.kill()
            process.communicate()
    shutil.rmtree(folder, ignore_errors=True)


def _user(account: Account) -> dict[str, str]:
    """Credentials of somebody who may do nothing yet."""
    account.client("iam").create_user(UserName="user")
    key = account.client("iam").create_access_key(UserName="user")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def allow(world: World) -> None:
    """Let the user do what using the stack as it is deployed now takes."""
    text = world.kit.run("plan", "--policy", "--use")
    world.account.client("iam").put_user_policy(UserName="user", PolicyName="use", PolicyDocument=text)


@pytest.fixture(scope="module")
def followed(world: World) -> dict[str, Any]:
    """What `train` prints of a run that it followed to the end, while other runs do other things."""
    run, process = world.started("--json", "--instance-type", PRICED)
    left, scheduled = _left_alone(world), _scheduled(world, run)
    text = "".join(lines_of(process))
    assert process.wait() == 0, text
    return {"run": run, "text": text, "left": left, "scheduled": scheduled, **json.loads(text[text.index("\n{") :])}


def _left_alone(world: World) -> str:
    """A run whose caller was killed; it is stopped, then resumed by a caller that doesn't wait."""
    run, process = world.started("--again", "--spot", "--instance-type", PRICED)
    next(line for line in lines_of(process) if line.startswith("step=10 "))
    process.kill()
    world.platform.stop(run)
    assert find_run(world.platform, run).state.status == "stopped"
    assert "resumes from its last checkpoint" in world.kit.run("train", "--resume", run, "--detach")
    return run


def _scheduled(world: World, run: str) -> str:
    """A job as a schedule starts it: it repeats a run's spec."""
    platform, name = world.platform, f"{world.platform.aws.job_prefix}-{uuid.uuid4().hex[:16]}"
    place = JobPlace(
        platform.aws.roles["training"], platform.aws.kms_key, platform._bucket, platform.aws.work_bucket,
        tags=platform.aws.tags,
    )  # fmt: skip
    spec = find_run(platform, run).spec
    content, folder = spec.to_json().encode(), schedule_key("weekly", run)
    s3 = world.account.client("s3")  # of whoever deployed the schedule
    s3.put_object(Bucket=platform.aws.work_bucket, Key=f"{folder}/run.json", Body=content)
    stored = StoredSpec(folder, sha256_bytes(content))
    platform.clients("sagemaker").create_training_job(**training_job(name, name, spec, stored, place))
    return name


def test_a_followed_run_tells_everything(world: World, followed: dict[str, Any]) -> None:
    text = followed["text"]
    for words in ("starting its instances", "downloading its inputs", "job completed"):
        assert words in text
    assert "step=144 total=144 loss=" in text
    assert "usd=0.0" in text
    assert "1 x ml.g5.xlarge, billed for " in text
    assert followed["model"] == "chatbot@1"
    shown = world.kit.json("runs", "show", followed["run"])
    assert (shown["status"], shown["machines"]) == ("completed", "1 x ml.g5.xlarge")
    assert shown["cost"].startswith("$0.0")
    assert "error: run" in world.kit.run("runs", "stop", followed["run"], code=1)


@pytest.mark.vulnerability(5)
def test_vulnerability_5_a_job_that_rewrites_its_spec_and_its_manifest_is_refused(
    world: World, followed: dict[str, Any]
) -> None:
    """All that the training role may write is written so that it fits an easy gate; and put back for the test below."""
    platform, run = world.platform, followed["left"]
    list(platform.follow(run))
    spec = find_run(platform, run).spec
    assert find_run(platform, run).state.status == "completed"
    job = f"{platform.aws.job_prefix}-{run}-2"  # it was resumed
    key = next(k for k in platform.runs._objects.list(f"runs/{run}/output/{job}/") if k.endswith("manifest.json"))
    gate = spec.recipe.evaluation.gate[0].model_copy(update={"low": 0.01, "gain_low": None})
    evaluation = spec.recipe.evaluation.model_copy(update={"gate": [gate, gate]})
    evil = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"evaluation": evaluation})})
    manifest = ModelManifest.parse(platform.runs._objects.get(key).decode(), where=key)
    claimed = {
        "lineage": manifest.lineage.model_copy(update={"recipe_sha256": sha256_bytes(evil.recipe.to_json().encode())}),
        "gate": GateResult(passed=True, reasons=["all is well"]),
    }
    platform.runs._objects.put(key, manifest.model_copy(update=claimed).to_json().encode())
    with pytest.raises(IntegrityError, match=r"lineage\.recipe_sha256"):
        collect(platform, find_run(platform, run), lambda _: None)
    specs = {key: platform.runs._objects.get(key) for key in (run_spec_key(run), run_spec_key(run, 2))}
    for each in specs:
        platform.runs._objects.put(each, evil.to_json().encode())
    with pytest.raises(RunError, match="what was submitted is not certain"):
        collect(platform, find_run(platform, run), lambda _: None)
    assert "where: run" in world.kit.run("runs", "collect", run, code=1)
    assert platform.store().of_run("chatbot", run) is None
    for each, content in (specs | {key: manifest.to_json().encode()}).items():
        platform.runs._objects.put(each, content)


def test_a_run_that_nobody_watched_and_one_of_a_schedule_are_collected_and_equal_it(
    world: World, followed: dict[str, Any]
) -> None:
    runs = (followed["left"], followed["scheduled"])
    for run in runs:
        *_, last = world.platform.follow(run)
        assert last.startswith("1 x ")
    assert {r["run"] for r in world.kit.json("runs", "list")} == {followed["run"], *runs}
    found = {row["run"]: row for row in world.kit.json("runs", "collect")}
    assert found.keys() == set(runs)
    assert world.kit.run("runs", "collect") == "nothing to collect\n"
    assert "is complete (same recipe" in world.kit.run("train", "recipe.yaml")
    store = world.platform.store()
    weights = {
        sha256_file(store.model_folder(sha256) / "model.safetensors")
        for sha256 in (followed["sha256"], *(row["sha256"] for row in found.values()))
    }
    assert len(weights) == 1
    spot = world.kit.json("runs", "show", followed["left"])
    assert "spot saved" in spot["cost"]
    names = {j["TrainingJobName"] for j in _jobs(world)}
    assert any(name.endswith(f"{followed['left']}-2") for name in names), "resumed as another job"
    log = world.kit.run("runs", "follow", followed["left"])
    assert log.count("step=10 ") == 1
    assert "resume=checkpoint-" in log


def _jobs(world: World) -> list[dict[str, Any]]:
    return _sagemaker(world).list_training_jobs(MaxResults=100)["TrainingJobSummaries"]


def _sagemaker(world: World) -> Any:
    """As the account's owner, who sees everything."""
    with world.account.entered():
        return boto3.client("sagemaker", region_name="us-east-1")


@pytest.mark.parametrize(
    ("name", "added", "program"),
    [
        ("own-chat", "trainer: {image: folder:own_trainer, command: [python, -m, own_trainer]}\n", "own_trainer"),
        ("keras-chat", "", "llmops_kit.training.keras_trainer"),
    ],
)
def test_another_trainer_trains_in_a_job_of_its_own(world: World, name: str, added: str, program: str) -> None:
    """A trainer of the user's; and TensorFlow, whose spot instances are taken back at its first checkpoint."""
    folder, keras = world.stack.folder, not added
    recipe = RECIPE.replace("name: chatbot", f"name: {name}").partition("  gate: ")[0]
    recipe = recipe.replace("{epochs: 12", "{framework: tensorflow, epochs: 3" if keras else "{epochs: 3")
    (folder / f"{name}.yaml").write_text(f"{recipe}{WITHOUT_EXPORT}{added}")
    shutil.copytree(CHECKOUT / "examples/own_trainer", folder / "own_trainer", dirs_exist_ok=True)
    if keras:
        world.account.fault("spot_reclaim", job=f"*{name}*", after_file=CHECKPOINT, times=1)
    run = world.kit.json("train", f"{name}.yaml", "--detach", "--spot")["run"]
    job, steps = f"{world.platform.aws.job_prefix}-{run}", 18
    text = world.kit.run("runs", "follow", run)
    assert f"step={steps} total={steps} loss=" in text
    assert text.index("job completed") < text.index("stage=evaluate_before") < text.rindex("job completed")
    assert text.count("stage=train\n") == 2 * keras
    assert ("spot capacity was interrupted" in text, "\nresume=checkpoint-" in text) == (keras, keras)
    described = [_sagemaker(world).describe_training_job(TrainingJobName=each) for each in (job, f"{job}-2")]
    assert [each["AlgorithmSpecification"].get("ContainerEntrypoint") for each in described] == [
        ["python", "-m", program],
        None,
    ]
    ref = world.platform.store().of_run(name, run)
    assert ref is not None
    manifest = world.platform.store().manifest(ref)
    assert manifest.lineage.trainer == described[0]["AlgorithmSpecification"]["TrainingImage"]
    assert manifest.training is not None
    assert manifest.training.steps == steps


def test_each_version_is_once_in_the_model_package_group(world: World, followed: dict[str, Any]) -> None:
    platform, sagemaker = world.platform, _sagemaker(world)
    world.kit.run("runs", "collect", followed["run"])
    group = platform.aws.model_package_group
    listed = sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    found = [package for package in listed if package["ModelPackageDescription"].startswith("chatbot@")]
    versions = platform.store().versions("chatbot")
    assert sorted(p["ModelPackageDescription"] for p in found) == [
        f"{v.name}@{v.number}@sha256:{v.sha256}" for v in versions
    ]
    package = sagemaker.describe_model_package(ModelPackageName=found[0]["ModelPackageArn"])
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["CustomerMetadataProperties"]["run"] in {r["run"] for r in world.kit.json("runs", "list")}
    assert package["CustomerMetadataProperties"]["gate"].startswith("held-out: ")


def test_a_plan_holds_a_schedules_run_against_its_machine(world: World, followed: dict[str, Any]) -> None:
    weekly = {"run": followed["run"], "cron": "rate(7 days)", "instance_type": PRICED}
    before = dict(world.stack.settings["aws"])
    world.stack.settings["aws"]["schedules"] = {"weekly": weekly}
    world.stack.configure()
    try:
        deployer = Kit(world.stack.folder, world.account.environ | {"PULUMI_STACK": "dev"})
        (found,) = deployer.json("plan")["trainings"]
    finally:
        world.stack.settings["aws"] = before
        world.stack.configure()
    assert (found["schedule"], found["run"], found["machine"]) == ("weekly", followed["run"], PRICED)
    assert found["fits"] is True
    words = f"{PRICED} (1 x A10G 24 GB) trains it at less than 0.1 GB; the cheapest that does: ml."
    assert found["words"].startswith(words)


def test_a_failed_registration_is_a_warning_and_the_next_collect_makes_it_good(
    world: World, followed: dict[str, Any]
) -> None:
    iam, sagemaker, group = world.account.client("iam"), _sagemaker(world), world.platform.aws.model_package_group
    before = sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    lost = next(p for p in before if p["ModelPackageDescription"].endswith(followed["sha256"]))
    sagemaker.delete_model_package(ModelPackageName=lost["ModelPackageArn"])
    denied = {"Effect": "Deny", "Action": "sagemaker:CreateModelPackage", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": denied})
    iam.put_user_policy(UserName="user", PolicyName="denied", PolicyDocument=document)
    assert "warning: chatbot@1 is in the store, but not in the registry" in world.kit.run(
        "runs", "collect", followed["run"]
    )
    iam.delete_user_policy(UserName="user", PolicyName="denied")
    assert "registered chatbot@1" in world.kit.run("runs", "collect")
    after = sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    assert {p["ModelPackageDescription"] for p in after} == {p["ModelPackageDescription"] for p in before}


@pytest.fixture(scope="module")
def serving(world: World) -> World:
    """The stack with endpoints that answer at once, a chatbot's and an assistant's, and one that answers by objects."""
    path = world.stack.folder / "Pulumi.dev.yaml"
    document = YAML(typ="safe").load(path)
    model = {"model": world.tiny, "gate": "waived"}
    assistant = {"model": world.stack.add_version("assistant@1", model=agent_model()), "gate": "waived"}
    endpoints = {"chatbot": model, "later": {**model, "mode": "async"}, "assistant": assistant}
    document["config"]["llmops:endpoints"] = endpoints
    YAML(typ="safe").dump(document, path)
    world.stack.pulumi("up", "--yes", "--skip-preview")
    world.platform = deployed(world.stack)
    allow(world)
    return world


def question(**members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Tell me w1?"}], "max_tokens": 6, **members}


def test_an_endpoint_answers_whole_and_as_a_stream_the_same(serving: World) -> None:
    whole = serving.kit.json("invoke", "chatbot", "Tell me w1?", "--max-tokens", "6")
    assert whole["model"] == "tiny@1"
    platform = serving.platform
    chunks = list(platform.invoke("chatbot", question(stream=True)))
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert len(chunks) >= 3
    stream = platform.invoke("chatbot", question(stream=True, max_tokens=1000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert list(platform.invoke("chatbot", question()))


def test_agents_call_functions_through_sagemakers_openai_route(serving: World) -> None:
    require_agents_work(*access_of(serving.kit.run("status", "--env", "assistant", "--json")), serving.kit.environ)


def test_an_asynchronous_endpoint_answers_the_same_by_objects(serving: World) -> None:
    platform = serving.platform
    (now,) = platform.invoke("chatbot", question())
    (later,) = platform.invoke("later", question())
    assert later["choices"] == now["choices"]
    (chunk,) = platform.invoke("later", question(stream=True))
    assert chunk["choices"][0]["delta"]["content"] == now["choices"][0]["message"]["content"]
    with pytest.raises(KitError, match=r"failed: .*temperature"):
        list(platform.invoke("later", question(temperature=-1)))


@pytest.mark.parametrize(
    ("fault", "request_", "words"),
    [
        ({}, question(temperature=-1), "answers 400: .*temperature"),
        ({"kind": "throttle", "operation": "InvokeEndpoint"}, question(), "accepts no request at the moment"),
        (
            {"kind": "cut_stream", "endpoint": "*", "after_bytes": 300},
            question(stream=True, max_tokens=100),
            "connection broke",
        ),
    ],
    ids=["model", "throttle", "cut"],
)
def test_what_goes_wrong_is_said_in_words(serving: World, fault: Any, request_: Any, words: str) -> None:
    if fault:
        serving.account.fault(fault.pop("kind"), **fault)
    try:
        with pytest.raises(KitError, match=words) as caught:
            list(serving.platform.invoke("chatbot", request_))
    finally:
        serving.account.clear_faults()
    assert caught.value.where == "endpoint chatbot"
    assert caught.value.fix


def test_the_users_policy_has_no_action_that_nobody_uses(serving: World) -> None:
    """And every action of it was needed by what the tests above did."""
    policy = json.loads(serving.kit.run("plan", "--policy", "--use"))
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    serving.kit.run("status")
    serving.kit.run("logs", "chatbot")
    recorded_ = asked(serving.account.home, serving.kit.environ["AWS_ENDPOINT_URL"], "recorded")
    with urllib.request.urlopen(recorded_, timeout=60) as answer:
        recorded = json.load(answer)["recorded"]
    used = {r["action"] for r in recorded if r["principal"].endswith(":user/user")}
    at_times = {"s3:AbortMultipartUpload", "secretsmanager:GetSecretValue", "sts:GetCallerIdentity"}
    at_times.add("servicequotas:ListAWSDefaultServiceQuotas")  # of a quota that is not listed as the account has it
    assert allowed - used <= at_times


def lines_of(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout
    return process.stdout
