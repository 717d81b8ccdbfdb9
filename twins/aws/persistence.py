"""Saves a twin's state in its folder: one file that is replaced atomically, and S3's bodies as files beside it.

The file is a pickle of moto's backends and of the twin's own documents; the folder belongs to one user (0700). Bodies
are written before the file that references them, and removed after the file that no longer does, so that a process
killed at any moment leaves a consistent state.
"""

import copyreg
import hashlib
import io
import json
import logging
import marshal
import pickle
import platform
import tempfile
import threading
import types
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, get_args
from weakref import WeakValueDictionary

from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric import types as keys
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)
from moto.backends import get_backend
from moto.core.base_backend import BackendDict, BaseBackend
from moto.s3.models import FakeKey

from contract.errors import KitError
from twins.aws.twin import AccountTwin
from twins.core.persistence import Keeper as CommonKeeper
from twins.core.persistence import replace_file

BODIES = "objects"
"""The folder of S3's bodies in a twin's home; files whose names begin with a dot are incomplete or left over."""
_SCHEMA, _UNSUMMED = "twin-state/2", "twin-state/1"
log = logging.getLogger("twins.aws")
_PRIVATE_KEYS, _PUBLIC_KEYS = get_args(keys.PrivateKeyTypes), get_args(keys.PublicKeyTypes)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))


class AwsKeeper(CommonKeeper):
    """Saves the state of a twin soon after each change, and loads it."""

    files = ("state.pickle", BODIES)

    def __init__(self, twin: AccountTwin) -> None:
        super().__init__(twin)
        self._twin = twin
        self._file = twin.home / "state.pickle"
        self._bodies = twin.home / BODIES
        self._last = b""

    def load(self) -> bool:
        """Loads the state from the folder; False if there is none.

        Raises:
            KitError: another version of Python, moto or the kit wrote it, or it does not match its SHA-256.
        """
        if not self._file.exists():
            return False
        line, _, content = self._file.read_bytes().partition(b"\n")
        head = json.loads(line)
        older = head.get("schema") == _UNSUMMED
        if not older and head.pop("sha256", "") != hashlib.sha256(content).hexdigest():
            raise KitError(
                "the state does not fit its SHA-256: the file was damaged or changed",
                where=str(self._file),
                fix=f"restore a copy of the folder, or drop the state: twins aws reset --home {self._file.parent}",
            )
        if head | ({"schema": _SCHEMA} if older else {}) != _versions():
            raise KitError(
                f"the state was written with {_spoken(head)}, and this is {_spoken(_versions())}",
                where=str(self._file),
                fix=f"go back to those versions, or drop the state: twins aws reset --home {self._file.parent}",
            )
        state = _Unpickler(io.BytesIO(content), self._bodies).load()
        self._twin.state.update(_migrated(state) if older else state)
        self._last = content
        return True

    def save(self) -> None:
        """Saves the state now, unless it is unchanged since the last save."""
        with self._twin.lock:
            self._seen()
            content, used = self._pickled()
            there = list(self._bodies.glob("*"))  # others add files with the lock held
        if content != self._last:
            head = json.dumps({**_versions(), "sha256": hashlib.sha256(content).hexdigest()}).encode()
            replace_file(self._file, head + b"\n" + content)
            self._last = content
        for body in there:
            if body.name not in used and not body.name.startswith("."):
                body.unlink(missing_ok=True)

    def _pickled(self) -> tuple[bytes, set[str]]:
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, self._bodies)
        pickler.dump(self._twin.state)
        return buffer.getvalue(), pickler.bodies


class ObjectBody:
    """The content of an S3 object, or of a part, in a file. It becomes a spooled file when written to."""

    def __init__(self, path: Path) -> None:
        self.path: Path | None = path
        self._file: IO[bytes] | None = None

    def seek(self, position: int, whence: int = 0) -> int:
        return self._opened().seek(position, whence)

    def tell(self) -> int:
        return self._opened().tell()

    def read(self, size: int = -1) -> bytes:
        return self._opened().read(size)

    def truncate(self, size: int | None = None) -> int:
        self.close()
        self.path = None
        self._file = tempfile.SpooledTemporaryFile(16_777_216)  # noqa: SIM115
        return self._file.truncate(size)

    def write(self, data: bytes) -> int:
        return self._opened().write(data)

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            assert self.path is not None
            self._file = self.path.open("rb")
        return self._file


def backends_in_use() -> int:
    """Returns the number of backends that moto has created. Some have initial content, whose ids must not change."""
    return sum(len(account) for owner in _owners() for account in owner.values())


class _Pickler(pickle.Pickler):
    """Pickles the state's documents, then every backend. Backends and bodies are pickled by name, without their
    content.

    Objects that need special handling are recognised by type alone, so that all others take pickle's fast path.
    """

    def __init__(self, file: IO[bytes], bodies: Path) -> None:
        super().__init__(file, protocol=5)
        self._folder = bodies
        self._backends = _backends()
        self.bodies: set[str] = set()
        self.dispatch_table = copyreg.dispatch_table.copy() | self._reducers()

    def dump(self, obj: Any) -> None:
        super().dump(list(self._backends.values()))
        super().dump(obj)
        for owner in _owners():
            for _, _, backend in owner.iter_backends():
                super().dump(backend.__dict__)

    def _reducers(self) -> dict[type, Callable[[Any], Any]]:
        backends = {type(b) for owner in _owners() for _, _, b in owner.iter_backends()}
        strict = (t for t in _subclasses(dict) if t.__module__.startswith("moto."))
        return {
            _LOCKS[0]: lambda _: (threading.Lock, ()),
            _LOCKS[1]: lambda _: (threading.RLock, ()),
            defaultdict: _reduce_default,
            WeakValueDictionary: lambda mapping: (WeakValueDictionary, (dict(mapping),)),  # moto's Lambda
            **dict.fromkeys(backends, self._reduce_backend),
            **dict.fromkeys((FakeKey, *_subclasses(FakeKey)), self._reduce_key),
            ObjectBody: self._reduce_body,
            **dict.fromkeys(_key_types(_PRIVATE_KEYS), _reduce_private),
            **dict.fromkeys(_key_types(_PUBLIC_KEYS), _reduce_public),
            # moto's mappings with rules of their own, which would be applied to what went through them already
            **dict.fromkeys(strict, _reduce_mapping),
        }

    def _reduce_backend(self, backend: BaseBackend) -> Any:
        return _backend, self._backends[id(backend)]

    def _reduce_body(self, body: ObjectBody) -> Any:
        assert body.path
        self.bodies.add(body.path.name)
        return _body, (body.path.name,)

    def _reduce_key(self, key: FakeKey) -> Any:
        return object.__new__, (type(key),), self._state_of_key(key), None, None, _set_state

    def _state_of_key(self, key: FakeKey) -> dict[str, Any]:
        fields = vars(key)
        body = fields["_value_buffer"]
        if key.disposed:
            return {**fields, "_value_buffer": None}
        if not isinstance(body, ObjectBody) or body.path is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / uuid.uuid4().hex
            replace_file(path, key.value)
            body.close()
            fields["_value_buffer"] = ObjectBody(path)
        return dict(fields)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], bodies: Path) -> None:
        super().__init__(file)
        self._folder = bodies

    def load(self) -> dict[str, Any]:
        backends = [_backend(*name) for name in super().load()]
        state = super().load()
        for backend in backends:
            backend.__dict__ = super().load()
        return state

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == (__name__, _body.__name__):
            return lambda name: ObjectBody(self._folder / name)
        return super().find_class(module_name, global_name)


def _backend(package: str, account: str, region: str) -> BaseBackend:
    name: Any = package  # its type lists all of moto's packages
    return get_backend(name)[account][region]


def _body(name: str) -> ObjectBody:
    """Stands for a body in the pickle; the unpickler knows the folder."""
    raise NotImplementedError(name)


def _reduce_default(mapping: "defaultdict[Any, Any]") -> Any:
    factory = mapping.default_factory
    if isinstance(factory, types.FunctionType) and "<locals>" in factory.__qualname__:  # moto's defaultdict(lambda: …)
        return _default, (marshal.dumps(factory.__code__), factory.__module__), None, None, iter(mapping.items())
    return defaultdict, (factory,), None, None, iter(mapping.items())


def _default(code: bytes, module: str) -> "defaultdict[Any, Any]":
    return defaultdict(types.FunctionType(marshal.loads(code), __import__(module, fromlist=["*"]).__dict__))


def _reduce_mapping(mapping: dict[Any, Any]) -> Any:
    state = (dict(dict.items(mapping)), vars(mapping), getattr(mapping, "default_factory", None))
    return _mapping, (type(mapping),), state, None, None, _set_mapping


def _reduce_private(key: Any) -> Any:
    return _private_key, (key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),)


def _reduce_public(key: Any) -> Any:
    return _public_key, (key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),)


def _subclasses(kind: type) -> set[type]:
    """Returns all subclasses, direct or not."""
    found = set(kind.__subclasses__())
    return found | {t for each in found for t in _subclasses(each)}


def _key_types(kinds: tuple[type, ...]) -> list[type]:
    """Returns the classes behind cryptography's abstract ones."""
    modules = [m for m in vars(openssl).values() if isinstance(m, types.ModuleType)]
    return [t for m in modules for t in vars(m).values() if isinstance(t, type) and issubclass(t, kinds)]


def _set_state(key: FakeKey, state: dict[str, Any]) -> None:
    vars(key).update(state)


def _mapping(kind: type[dict[Any, Any]]) -> dict[Any, Any]:
    return kind.__new__(kind)


def _set_mapping(mapping: dict[Any, Any], state: tuple[dict[Any, Any], dict[str, Any], Any]) -> None:
    items, fields, factory = state
    put: Any = OrderedDict.__setitem__ if isinstance(mapping, OrderedDict) else dict.__setitem__
    for name, value in items.items():
        put(mapping, name, value)
    vars(mapping).update(fields)
    if isinstance(mapping, defaultdict):
        mapping.default_factory = factory


def _private_key(der: bytes) -> object:
    return load_der_private_key(der, None)


def _public_key(der: bytes) -> object:
    return load_der_public_key(der)


def _backends() -> dict[int, tuple[str, str, str]]:
    """Returns id -> moto's package, account and region of every backend."""
    return {
        id(backend): (type(backend).__module__.split(".")[1], account, region)
        for owner in _owners()
        for account, region, backend in owner.iter_backends()
    }


def _owners() -> list[BackendDict[Any]]:
    return getattr(BackendDict, "_instances")  # noqa: B009


def _migrated(state: dict[str, Any]) -> dict[str, Any]:
    """Returns a state saved before its SHA-256 was kept, without the alarms that this twin does not judge."""
    for shelves in state.get("cloudwatch", {}).values():
        alarms = shelves.get("alarms", {})
        for name in [name for name, alarm in alarms.items() if "MetricName" not in alarm]:
            log.warning("the alarm %s is dropped: this twin judges neither metric math nor composite alarms", name)
            del alarms[name]
    return state


@cache
def _versions() -> dict[str, str]:
    return {"schema": _SCHEMA, "python": ".".join(platform.python_version_tuple()[:2]), "moto": version("moto")}


def _spoken(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in versions.items())
