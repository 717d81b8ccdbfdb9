"""The components that the kit's program is made of, in a program of one's own."""

import inspect
import re
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pulumi
import pytest

from llmops_kit.infra.targets.local.components import (
    Endpoint,
    LocalSettings,
    ModelEndpoint,
    ModelEndpointArgs,
    ModelStore,
    ModelStoreArgs,
    Training,
    TrainingArgs,
)
from llmops_kit.infra.testing import Declared, run_program
from tests.support.checkout import CHECKOUT
from tests.unit.infra.program import add_version

PAGE = CHECKOUT / "docs/how-to/own-program.md"
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pulumi-aws warns of its own old names
    MODULES = [import_module(f"llmops_kit.infra.targets.{target}.components") for target in ("aws", "azure", "local")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project named office."""
    (tmp_path / "Pulumi.yaml").write_text("name: office\nruntime: python\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(program: Callable[[], None]) -> Declared:
    return run_program(program, project="office", stack="dev")


@pytest.mark.parametrize("name", ["ModelStore", "Training", "ModelEndpoint"])
def test_a_component_has_the_same_arguments_on_every_target(name: str) -> None:
    found = [inspect.signature(getattr(module, name)).parameters.values() for module in MODULES]
    shapes = {tuple((each.name, each.kind, each.default) for each in parameters) for parameters in found}
    assert len(shapes) == 1


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_that_a_program_needs_is_in_one_module(module: ModuleType) -> None:
    names = {"ModelStore", "ModelStoreArgs", "Training", "TrainingArgs", "ModelEndpoint", "ModelEndpointArgs"}
    assert {*names, "Endpoint"} <= {*module.__all__}
    assert all(hasattr(module, name) for name in module.__all__)


def test_two_stores_and_their_endpoints_share_no_name_and_no_folder(project: Path) -> None:
    versions = [add_version(project / f".llmops/dev/{store}/store", "chatbot@1") for store in ("models", "others")]

    def program() -> None:
        for name, model in zip(("models", "others"), versions, strict=True):
            store = ModelStore(name, ModelStoreArgs(settings=LocalSettings()))
            Training(f"{name}-training", TrainingArgs(store=store))
            args = ModelEndpointArgs(store=store, endpoint=Endpoint(model=model))
            pulumi.export(name, ModelEndpoint(f"{name}-chat", args).url)

    declared = run(program)
    stores = [inputs["folder"] for inputs in declared.all_of("pulumi-python:dynamic/llmops:Store")]
    assert sorted(stores) == [str(project / f".llmops/dev/{store}/store") for store in ("models", "others")]
    homes = {inputs["home"] for inputs in declared.all_of("pulumi-python:dynamic/llmops:Hosting")}
    assert len(homes) == 2, "each endpoint has a supervisor of its own"
    assert homes == {inputs["home"] for inputs in declared.all_of("pulumi-python:dynamic/llmops:Endpoint")}
    assert set(declared.outputs) == {"models", "others"}


def test_a_version_that_the_store_lacks_is_refused_before_it_is_declared(project: Path) -> None:
    model = add_version(project / "elsewhere", "chatbot@1")

    def program() -> None:
        store = ModelStore("models", ModelStoreArgs(settings=LocalSettings()))
        ModelEndpoint("chat", ModelEndpointArgs(store=store, endpoint=Endpoint(model=model)))

    with pytest.raises(pulumi.RunError, match=r"the stack's store has no chatbot@1"):
        run(program)


def test_the_pages_program_is_the_example() -> None:
    shown = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    examples = [(CHECKOUT / f"examples/components/{cloud}/__main__.py").read_text() for cloud in ("aws", "azure")]
    assert shown[0] == examples[0]
    for ours, theirs in (("aws", "azure"), ("Aws", "Azure"), ("on AWS", "on Azure")):
        examples[0] = examples[0].replace(ours, theirs)
    assert examples[0].replace('region="eu-central-1"', 'location="westeurope"') == examples[1]


@pytest.mark.usefixtures("project")
def test_the_pages_test_passes() -> None:
    *_, text = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Callable[[], None]] = {}
    exec(text, names)
    names["test_versions_are_kept"]()
