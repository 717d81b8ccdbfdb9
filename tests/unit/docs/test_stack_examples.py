"""Each example of a stack file in the docs runs through the whole program, on each target that it names.

An example names its target by `llmops:target`; one without it is preceded by `<!-- targets: local, aws, azure -->`,
with those on which it works.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pulumi
import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.infra.targets.azure import resolve
from llmops_kit.settings.stack_settings import Endpoint, Settings
from tests.support.checkout import CHECKOUT
from tests.unit.infra.aws.conftest import REGION, SERVING, Account, on_moto
from tests.unit.infra.azure.conftest import SUBSCRIPTION, Subscription, on_azure
from tests.unit.infra.program import Declared, add_version, run_program

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
STACK_FILES = [CHECKOUT / f"Pulumi.{name}.yaml" for name in ("local", "aws-dev", "azure-dev")]
TARGETS = ("local", "aws", "azure")
_BLOCK = re.compile(
    r"(?:<!-- targets: (?P<targets>[a-z, ]+) -->\n+)?^```(?P<kind>yaml|bash|console)\n(?P<text>.*?)^```", re.M | re.S
)
_SET = re.compile(r"^pulumi config set --path llmops:(\S+) (\S+)", re.M)
_PREFIXES = ("llmops:", "my-bot:")  # of the kit's project, and of a user's
_OTHER_KINDS = ({"page"}, {"trainer"})
"""Top-level keys of examples that are neither a stack file nor a recipe's part."""


@dataclass(frozen=True)
class Example:
    """A part of a stack file: values by key, without the prefix."""

    where: str
    config: dict[str, Any]
    targets: tuple[str, ...]


def examples() -> list[Example]:
    """Returns all examples; fails on a block of YAML that is nothing known, as by a key that is written wrong."""
    pages = [example for page in PAGES for example in of_page(page.relative_to(CHECKOUT), page.read_text())]
    return [*pages, *(of_stack_file(file) for file in STACK_FILES)]


def of_page(page: Path, text: str) -> Iterator[Example]:
    for block in _BLOCK.finditer(text):
        where = f"{page}:{text[: block.start('text')].count(chr(10))}"
        config = _set_by(block["text"]) if block["kind"] != "yaml" else _config_of(block["text"], where)
        if not config:
            continue
        named = config.get("target")
        targets = (named,) if named else tuple((block["targets"] or "").split(", "))
        assert set(targets) <= {*TARGETS}, f"{where} names no target: put <!-- targets: … --> before it"
        yield Example(where, config, targets)


def of_stack_file(file: Path) -> Example:
    """Returns a stack file with the endpoint that its comments show."""
    lines = file.read_text().splitlines()
    start = lines.index("  # llmops:endpoints:")
    shown = [line.replace("  # ", "  ", 1) for line in lines[start:]]
    config = _load("\n".join([line for line in lines[:start] if not line.startswith("  #")] + shown), file.name)
    return Example(file.name, _plain(config["config"]), (config["config"]["llmops:target"],))


def _config_of(text: str, where: str) -> dict[str, Any]:
    """Returns the configuration in a block of YAML; empty if it is of another kind of file."""
    found = _load(text, where)
    found = found.get("config", found)
    if any(key.startswith(_PREFIXES) for key in found):
        return _plain(found)
    if found.keys() <= Endpoint.model_fields.keys():
        return {"endpoints": {"chatbot": found}}
    known = found.keys() <= {*Recipe.model_fields, "schema"} or set(found) in _OTHER_KINDS
    assert known, f"{where}: neither a stack file nor a recipe has all of {', '.join(found)}"
    return {}


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {key.partition(":")[2] if key.startswith(_PREFIXES) else key: value for key, value in config.items()}


def _load(text: str, where: str) -> dict[str, Any]:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as e:
        raise AssertionError(f"{where}: {e}") from None


def _set_by(commands: str) -> dict[str, Any]:
    """Returns the configuration that `pulumi config set` commands write."""
    config: dict[str, Any] = {}
    for path, value in _SET.findall(commands):
        node = config
        *folders, last = path.split(".")
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = _load(f"value: {value}", path)["value"]
    return config


@dataclass
class World:
    """A project on this machine, and an account in each cloud."""

    project: Path
    account: Account
    subscription: Subscription

    def preview(self, example: Example, target: str) -> Declared:
        """Runs the program as `llmops plan` does."""
        config = json.loads(_filled(json.dumps(example.config, ensure_ascii=False)))
        self._prepare(config)
        add: Callable[[str], str] = {"local": self._local_version, "aws": self.account.add_version}.get(
            target, self.subscription.add_version
        )
        for name, entry in config.get("endpoints", {}).items():
            entry["model"] = add(str(entry.get("model", f"{name}@1")).partition("@sha256")[0])
        config["target"] = target
        if target == "local":
            return run_program(config, preview=True)
        config["images"] = {"serving": SERVING, "training": SERVING, "serving_vllm": SERVING} | config.get("images", {})
        if target == "azure":
            return self.subscription.provision(config, preview=True)
        config["aws"] = config.get("aws", {}) | {"region": REGION}
        return self.account.provision(config, preview=True)

    def _local_version(self, alias: str) -> str:
        return add_version(self.project / ".llmops/demo/store", alias)

    def _prepare(self, config: dict[str, Any]) -> None:
        """Make what an example says is there: files of keys, buckets and resources of Azure."""
        for entry in config.get("endpoints", {}).values():
            if name := entry.get("limits", {}).get("api_keys_file"):
                (self.project / name).parent.mkdir(parents=True, exist_ok=True)
                (self.project / name).write_text('{"schema": "keys/1", "keys": []}')
        for name in (config.get("aws", {}).get(f"{kind}_bucket") for kind in ("store", "work")):
            if name:
                place = {"LocationConstraint": REGION}
                boto3.client("s3", region_name=REGION).create_bucket(Bucket=name, CreateBucketConfiguration=place)
        for id_ in re.findall(r'"(/subscriptions/[^"]+)"', json.dumps(config)):
            self.subscription.documents[id_] = {"location": "westeurope", "properties": _PROPERTIES}


_PROPERTIES = {
    "primaryEndpoints": {"blob": "https://data.blob.core.windows.net/"},
    "vaultUri": "https://acme-llm.vault.azure.net/",
    "loginServer": "acme.azurecr.io",
    "WorkspaceResourceId": "/logs",
    "clientId": "client",
    "principalId": "principal",
}
"""Of every resource that an example adopts."""


def _filled(text: str) -> str:
    """Returns an example with whole ids in place of those that it cuts short."""
    text = text.replace("/subscriptions/1111…", f"/subscriptions/{SUBSCRIPTION}")
    text = re.sub(r"(vault\.azure\.net/keys/\w+/)([0-9a-f]+)…", lambda m: m[1] + m[2].ljust(32, "0"), text)
    return re.sub(r"(?<=[0-9a-f])…", "", text)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    project = tmp_path_factory.mktemp("project").resolve()
    shutil.copy(CHECKOUT / "Pulumi.yaml", project)
    subscription = Subscription(project)
    with pytest.MonkeyPatch.context() as patch, on_moto(patch), on_azure(patch, subscription):
        patch.chdir(project)
        patch.setattr(resolve, "_keys_in_state", lambda *_: frozenset())  # of a stack that has no state yet
        yield World(project, Account(project), subscription)


@pytest.mark.parametrize(
    ("example", "target"),
    [
        pytest.param(example, target, id=f"{example.where}-{target}")
        for example in examples()
        for target in example.targets
    ],
)
def test_an_example_works_on_each_target_that_it_names(world: World, example: Example, target: str) -> None:
    declared = world.preview(example, target)
    assert declared.outputs
    for name, entry in example.config.get("endpoints", {}).items():
        assert declared.has(f"endpoint-{name}"), entry


def test_each_target_has_examples_of_endpoints() -> None:
    found = {target for example in examples() if "endpoints" in example.config for target in example.targets}
    assert found == {*TARGETS}


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("rollout: {strategy: canary, canary_procent: 9}", "local", "canary_procent: unknown key"),
        ("rollout: {strategy: canary, mirror_percent: 9}", "local", "rollout.mirror_percent: "),
        ("rollout: {strategy: canary, extra_bakes: 2}", "aws", "rollout.extra_bakes: SageMaker"),
        ("volume_gb: 40", "azure", "volume_gb: "),
        ("limits: {api_keys_file: keys.json}", "aws", "limits.api_keys_file: "),
    ],
)
def test_an_example_that_no_longer_works_is_found(world: World, text: str, target: str, said: str) -> None:
    page = f"<!-- targets: {target} -->\n\n```yaml\n{text}\n```\n"
    (example,) = of_page(Path("page.md"), page)
    with pytest.raises(pulumi.RunError, match=re.escape(said)):
        world.preview(example, target)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```yaml\nrolout: {strategy: canary}\n```", "neither a stack file nor a recipe has all of rolout"),
        ("```yaml\nllmops:endpoints: {}\n```", "names no target"),
        ("```console\npulumi config set --path llmops:endpoints.chatbot.port 1\n```", "names no target"),
        ("```yaml\nrollout: {strategy: [}\n```", "page.md:1: "),
    ],
)
def test_a_block_that_nobody_would_check_is_found(block: str, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        list(of_page(Path("page.md"), f"{block}\n"))


def test_commands_are_examples_too() -> None:
    assert _set_by("pulumi config set --path llmops:a.b.c 2\npulumi config set --path llmops:a.b.d on\n") == {
        "a": {"b": {"c": 2, "d": "on"}}
    }
    assert {*Settings.model_fields} > {key for example in examples() for key in example.config}
