"""States that name paths of somebody else: the providers of this machine read, change and delete nothing there."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from llmops_kit.core.documents.store import StoreDocument
from llmops_kit.core.errors import KitError
from llmops_kit.infra.targets.dynamic import KitProvider, Properties
from llmops_kit.infra.targets.local.providers import endpoints, home, signing_key, store, training_place

Case = tuple[type[KitProvider], Properties]
SHA = "0" * 64


def cases(folder: Path) -> dict[str, Case]:
    """Each provider with the properties of a resource in a stack's home."""
    keys, hosting = folder / "keys", str(folder / "hosting")
    endpoint = {
        "endpoint": "chat",
        "home": hosting,
        "key_file": str(keys / "chat.key"),
        "public_key_file": str(keys / "signing.pub"),
        "status": "running",
        "sha256": SHA,
        "instances": 1,
    }
    key = {"private_key": str(keys / "signing.key"), "public_key_file": str(keys / "signing.pub")}
    return {
        "store": (store.StoreProvider, {"folder": str(folder / "store"), "stack": "dev", "project": str(folder)}),
        "signing-key": (signing_key.SigningKeyProvider, key),
        "training": (training_place.TrainingPlaceProvider, {"runs": str(folder / "runs"), "image": "x"}),
        "hosting": (endpoints.HostingProvider, {"home": hosting, "endpoints": []}),
        "endpoint": (endpoints.EndpointProvider, endpoint),
    }


CASES = list(cases(Path("/")))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a project, in which the providers' process runs."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run() -> Iterator[psutil.Process]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def full_home(folder: Path, run: psutil.Process) -> Path:
    """A home with a file wherever a provider looks, and a running run."""
    for name in ("store/store.json", "keys/signing.key", "keys/signing.pub", "keys/chat.key", "runs/one/log.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "hosting/endpoints/chat").mkdir(parents=True)
    (folder / "hosting/endpoints/chat/endpoint.json").write_text("{}")
    state = {"schema": "run-state/1", "status": "running", "pid": run.pid, "pid_started": run.create_time()}
    (folder / "runs/one/state.json").write_text(json.dumps(state))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(KitError, match="not of this project's making") as caught:
        act()
    assert "earlier version" in caught.value.fix
    return str(caught.value)


@pytest.mark.vulnerability(16)
@pytest.mark.parametrize("recorded", ["nobody", "another project"])
@pytest.mark.parametrize("name", CASES)
def test_vulnerability_16_a_home_of_somebody_else_stays_as_it_is(
    project: Path, tmp_path: Path, run: psutil.Process, name: str, recorded: str
) -> None:
    theirs = full_home(tmp_path / "theirs", run)
    if recorded == "another project":
        (theirs / "home.json").write_text(json.dumps({"schema": "stack-home/1", "project": str(tmp_path / "other")}))
    kind, planted = cases(theirs)[name]
    own = cases(project / ".llmops/dev")[name][1]
    before = contents(theirs)
    refused(lambda: kind().delete("id", planted))
    if name != "hosting":  # which reads nothing
        refused(lambda: kind().read("id", planted))
    if name in ("hosting", "endpoint"):  # the others look for what would be left behind
        refused(lambda: kind().update("id", planted, own))
    assert contents(theirs) == before
    assert run.is_running()


@pytest.mark.vulnerability(16)
@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("signing-key", "private_key"),
        ("signing-key", "public_key_file"),
        ("store", "folder"),
        ("training", "runs"),
        ("hosting", "home"),
        ("endpoint", "home"),
        ("endpoint", "key_file"),
    ],
)
@pytest.mark.parametrize(
    "swapped", ["{home}/store/models", "{home}/keys/../../../Pulumi.yaml", "/", "Pulumi.yaml", "{home}"]
)
def test_vulnerability_16_a_path_of_another_kind_of_file_is_refused(
    project: Path, run: psutil.Process, resource: str, name: str, swapped: str
) -> None:
    own = full_home(project / ".llmops/dev", run)
    before = contents(project)
    kind, props = cases(own)[resource]
    refused(lambda: kind().delete("id", {**props, name: swapped.format(home=own)}))
    assert contents(project) == before
    assert run.is_running()


@pytest.mark.vulnerability(16)
@pytest.mark.parametrize("name", ["training", "hosting", "endpoint"])
def test_vulnerability_16_a_path_that_leads_back_from_a_link_is_refused(
    project: Path, tmp_path: Path, run: psutil.Process, name: str
) -> None:
    full_home(project / ".llmops/dev", run)
    theirs = full_home(tmp_path / "theirs/project/.llmops/dev", run)
    (tmp_path / "theirs/below").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "theirs/below")
    before = contents(theirs)
    kind, props = cases(tmp_path / "link/../project/.llmops/dev")[name]
    refused(lambda: kind().delete("id", props))
    assert contents(theirs) == before
    assert run.is_running()


@pytest.mark.vulnerability(16)
@pytest.mark.parametrize("key", ["{name}", "chat"])
def test_vulnerability_16_an_endpoint_that_is_named_as_a_path_is_not_removed(
    project: Path, run: psutil.Process, key: str
) -> None:
    """An update that finds another home in the state removes the endpoint from there."""
    own, name = full_home(project / ".llmops/dev", run), "../../../../kept"
    (project / "kept").mkdir()
    (project / "kept/file").write_text("kept")
    kind, props = cases(own)["endpoint"]
    planted = {**props, "endpoint": name, "key_file": str(own / "keys" / f"{key.format(name=name)}.key")}
    planted["home"] = str(own / "hosting/chat")
    refused(lambda: kind().update("id", {**planted, "home": str(own / "hosting")}, {**props, "home": "/other"}))
    refused(lambda: kind().update("id", planted, props))
    assert (project / "kept/file").read_text() == "kept"


@pytest.mark.vulnerability(16)
def test_vulnerability_16_no_link_leads_out_of_a_home(project: Path, tmp_path: Path, run: psutil.Process) -> None:
    theirs, own = full_home(tmp_path / "theirs", run), project / ".llmops/dev"
    own.mkdir(parents=True)
    (own / "keys").symlink_to(theirs / "keys")
    (own / "store").symlink_to(theirs / "store")
    before = contents(theirs)
    kind, props = cases(own)["signing-key"]
    refused(lambda: kind().delete("id", props))
    kind, props = cases(own)["store"]
    with pytest.raises(OSError, match="symbolic link"):
        kind().delete("id", props)
    assert contents(theirs) == before


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_to_do_where_a_home_is_gone(project: Path, tmp_path: Path, name: str) -> None:
    kind, props = cases(tmp_path / "gone")[name]
    kind().delete("id", props)
    if name != "hosting":
        assert kind().read("id", props).id == ""


@pytest.mark.parametrize("first", ["store", "signing-key"])
def test_a_home_elsewhere_of_a_kit_that_wrote_no_record_is_its_stores_projects(
    project: Path, tmp_path: Path, first: str
) -> None:
    folder = tmp_path / "elsewhere/dev"
    of = cases(folder)
    StoreDocument.new(stack="dev", project=str(project)).write(folder / "store/store.json")
    (folder / "keys").mkdir()
    (folder / "keys/signing.key").write_text("")
    for name in sorted(of, key=lambda name: name != first):
        kind, props = of[name]
        kind().delete("id", props)
    assert sorted(path.name for path in folder.iterdir()) == ["home.json", "hosting", "keys"]
    assert not list((folder / "keys").iterdir())


def test_a_home_elsewhere_is_the_projects_once_it_was_deployed_there(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, props = cases(tmp_path / "elsewhere/dev")["signing-key"]
    made = kind().create(props).outs or {}
    assert kind().read("id", made).id == "id"

    other = tmp_path / "other"
    other.mkdir()
    (other / "Pulumi.yaml").write_text("name: llmops\nruntime: python\n")
    monkeypatch.chdir(other)
    refused(lambda: kind().delete("id", made))
    with pytest.raises(KitError, match=f"belongs to the project in {project}"):
        home.claim(tmp_path / "elsewhere/dev")

    monkeypatch.chdir(project)
    project.rename(tmp_path / "moved")  # this process follows its folder
    monkeypatch.chdir(tmp_path / "moved")
    refused(lambda: kind().delete("id", made))
    home.claim(tmp_path / "elsewhere/dev")  # as the next `up` does: the old project is gone
    kind().delete("id", made)
    assert kind().read("id", made).id == ""
