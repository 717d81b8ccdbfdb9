"""The hosts and GPUs of a job, from the configuration that SageMaker or Azure ML puts into a training container.

/opt/ml/input/config/resourceconfig.json has hosts, current_host and network_interface_name; Azure's variables for
PyTorch have the number of nodes, this one's number and the first one's address. Without both, a container is alone.
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu#pytorch
"""

import json
import socket
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import ROOT_VARIABLE, TrainingFolders
from llmops_kit.training.devices import count_gpus

_FIX = "start the job again; if the error persists, report it with this file's content"
PORT = 29500
"""Port of the store on the first host; torchrun's own default."""
_NODES = "LLMOPS_NODES"
_AZURE = ("WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class HostPlace:
    """This host among the job's hosts. `gpus` is its number of GPUs."""

    hosts: Sequence[str]
    host: str
    interface: str
    gpus: int
    address: str = ""
    """The first host's address if the platform gives it; otherwise its name is resolved."""
    port: int = PORT
    """Port of the store on the first host."""

    @property
    def alone(self) -> bool:
        """Whether one process does the whole job."""
        return len(self.hosts) == 1 and self.gpus < 2

    @property
    def number(self) -> int:
        """This host's index among the job's, from 0."""
        return self.hosts.index(self.host)


def read_place(folders: TrainingFolders, environ: Mapping[str, str]) -> HostPlace:
    """Returns this host's place among the job's hosts.

    Raises:
        KitError: resourceconfig.json can't be parsed, or torch can't use the machine's GPUs.
    """
    path = folders.resources
    if nodes := environ.get(_NODES):
        return _place_among(json.loads(nodes), count_gpus(environ))
    if not path.exists():
        return HostPlace([socket.gethostname()], socket.gethostname(), "", count_gpus(environ))
    try:
        found = json.loads(path.read_text())
        hosts, host = [str(name) for name in found["hosts"]], str(found["current_host"])
        interface = str(found.get("network_interface_name") or "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise KitError(f"can't be parsed: {type(e).__name__}: {e}", where=str(path), fix=_FIX) from e
    if host not in hosts or len(set(hosts)) != len(hosts):
        raise KitError(f"names hosts {hosts}, and {host!r} as this one", where=str(path), fix=_FIX)
    return HostPlace(hosts, host, interface, count_gpus(environ, str(found.get("current_instance_type") or "")))


def keep_nodes(environ: MutableMapping[str, str]) -> None:
    """Copies Azure ML's variables about a job's nodes to one of the kit's own. The originals are removed, because
    libraries would take them for another launcher's (llmops_kit.training.process.forget_other_launchers).
    """
    if all(environ.get(name) for name in _AZURE):
        environ[_NODES] = json.dumps({name: environ[name] for name in _AZURE})


def _place_among(found: Mapping[str, str], gpus: int) -> HostPlace:
    """Returns this node's place, for one process on each node: WORLD_SIZE is the number of nodes."""
    try:
        size, rank, port = int(found["WORLD_SIZE"]), int(found["NODE_RANK"]), int(found["MASTER_PORT"])
    except ValueError as e:
        raise KitError(f"can't be understood: {e}", where=", ".join(_AZURE), fix="start the job again") from e
    if not 0 <= rank < size:
        raise KitError(f"is {rank}, of {size} nodes", where="NODE_RANK", fix="start the job again")
    hosts = [f"node-{number}" for number in range(size)]
    return HostPlace(hosts, hosts[rank], "", gpus, found["MASTER_ADDR"], port)


def address_of(name: str, folders: TrainingFolders, environ: Mapping[str, str]) -> str:
    """Returns a host's address now; "" when its name is not known (yet).

    A process image has its own hosts file; in a container, the system resolves names.
    """
    if ROOT_VARIABLE in environ:
        return _from_file(name, folders.hosts)
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return ""


def _from_file(name: str, path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if name in names:
            return address
    return ""
