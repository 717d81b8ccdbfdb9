"""Where a job runs is what the platform's files say; what they can't say is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import TrainingFolders
from llmops_kit.training.hosts import PORT, address_of, keep_nodes, read_place

TWO = {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"], "network_interface_name": "eth0"}


def folders_with(root: Path, config: Any) -> TrainingFolders:
    folders = TrainingFolders(root)
    folders.resources.parent.mkdir(parents=True)
    folders.resources.write_text(config if isinstance(config, str) else json.dumps(config))
    return folders


def test_one_of_two_hosts(tmp_path: Path) -> None:
    # SageMaker's file has more members than are read here, and may get others.
    place = read_place(
        folders_with(tmp_path, {**TWO, "current_instance_type": "ml.m5.large", "instance_groups": []}), {}
    )
    assert (place.number, place.host, place.interface, place.alone) == (1, "algo-2", "eth0", False)


@pytest.mark.parametrize("hosts", [["algo-1"], None], ids=["one-host", "no-file"])
def test_alone(tmp_path: Path, hosts: list[str] | None) -> None:
    folders = folders_with(tmp_path, {"current_host": "algo-1", "hosts": hosts}) if hosts else TrainingFolders(tmp_path)
    place = read_place(folders, {})
    assert len(place.hosts) == 1
    assert place.alone == (place.gpus < 2)


def test_a_machine_whose_gpus_torch_can_not_use_ends_the_job(tmp_path: Path) -> None:
    """Else it would train on the processors, for as long as it may run."""
    config = {"current_host": "algo-1", "hosts": ["algo-1"], "current_instance_type": "ml.g5.xlarge"}
    if torch.cuda.is_available():
        pytest.skip("torch uses this machine's GPUs")
    with pytest.raises(KitError) as caught:
        read_place(folders_with(tmp_path, config), {})
    assert caught.value.where == "instance type ml.g5.xlarge"
    count = {"AZ_BATCHAI_GPU_COUNT_FOUND": "1"}
    for environ in (kept() | count, count):
        with pytest.raises(KitError) as caught:
            read_place(TrainingFolders(tmp_path / "azure"), environ)
        assert caught.value.where == "AZ_BATCHAI_GPU_COUNT_FOUND=1"


@pytest.mark.parametrize(
    "config",
    ["{", "[]", {"hosts": ["algo-1"]}, {**TWO, "current_host": "algo-3"}, {**TWO, "hosts": ["algo-2", "algo-2"]}],
)
def test_a_file_that_makes_no_sense_is_named(tmp_path: Path, config: Any) -> None:
    folders = folders_with(tmp_path, config)
    with pytest.raises(KitError) as caught:
        read_place(folders, {})
    assert caught.value.where == str(folders.resources)
    assert caught.value.fix


def test_a_process_has_its_own_hosts_file(tmp_path: Path) -> None:
    folders = TrainingFolders(tmp_path)
    environ = {"LLMOPS_ROOT": str(tmp_path)}
    assert address_of("localhost", folders, environ) == ""
    folders.hosts.parent.mkdir()
    folders.hosts.write_text("# 127.1.1.1 algo-1\n\n127.1.2.1 algo-1 # the first\n127.1.2.2\talgo-2 two\n")
    assert [address_of(name, folders, environ) for name in ("algo-1", "algo-2", "two", "algo-3")] == [
        "127.1.2.1",
        "127.1.2.2",
        "127.1.2.2",
        "",
    ]


def test_a_container_asks_its_system(tmp_path: Path) -> None:
    assert address_of("localhost", TrainingFolders(tmp_path), {}) in ("127.0.0.1", "::1")
    assert address_of("no-such-host.invalid", TrainingFolders(tmp_path), {}) == ""


AZURE = {"WORLD_SIZE": "3", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.4", "MASTER_PORT": "6105", "RANK": "1"}


def kept(**others: str) -> dict[str, str]:
    """What is left of Azure's variables when those of other launchers are forgotten."""
    environ = AZURE | others
    keep_nodes(environ)
    return {name: value for name, value in environ.items() if name not in AZURE}


def test_one_of_three_nodes_by_azures_variables(tmp_path: Path) -> None:
    place = read_place(TrainingFolders(tmp_path), kept())
    assert (place.hosts, place.host, place.number) == (["node-0", "node-1", "node-2"], "node-1", 1)
    assert (place.address, place.port, place.alone) == ("10.0.0.4", 6105, False)


def test_a_node_without_others_is_alone(tmp_path: Path) -> None:
    place = read_place(TrainingFolders(tmp_path), kept(WORLD_SIZE="1", NODE_RANK="0"))
    assert place.alone == (place.gpus < 2)
    nothing = read_place(TrainingFolders(tmp_path), {})
    assert (nothing.address, nothing.port) == ("", PORT)


@pytest.mark.parametrize("wrong", [{"NODE_RANK": "3"}, {"MASTER_PORT": "x"}])
def test_variables_that_make_no_sense_are_named(tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(KitError) as caught:
        read_place(TrainingFolders(tmp_path), kept(**wrong))
    assert next(iter(wrong)) in caught.value.where
