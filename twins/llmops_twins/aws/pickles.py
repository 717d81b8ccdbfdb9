"""Pickles of the twin's state: each of its documents and each of moto's backends is a separate part, and so is each
of S3's objects, which are pickled again only when they have changed: they are most of an account.
"""

import copyreg
import io
import itertools
import marshal
import pickle
import threading
import types
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
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
from moto.s3.models import FakeAcl, FakeKey

from llmops_kit.local_runtime.files import write_atomic
from llmops_twins.aws.object_bodies import ObjectBody

_PRIVATE_KEYS, _PUBLIC_KEYS = get_args(keys.PrivateKeyTypes), get_args(keys.PublicKeyTypes)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_FIXED = frozenset((str, bytes, int, float, bool, type(None), datetime, FakeAcl, ObjectBody, *_LOCKS))
"""Types of an object's fields whose values moto replaces, but never changes."""
_DOCUMENT, _BACKEND, _OBJECT = "document/", "backend/", "object/"


class StatePickles:
    """Pickles a twin's documents and moto's backends, and restores them.

    Backends refer to each other by name, and to S3's objects by the name of the object's part. Nothing else may belong
    to two parts: it would be restored as two objects. After `pickled`, `bodies` has the file names of all objects.
    """

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet; `folder` holds S3's bodies."""
        self.bodies: set[str] = set()
        self._folder = folder
        self._numbers = itertools.count()
        self._objects: dict[int, _PickledObject] = {}
        self._seen: dict[int, _PickledObject] = {}
        self._names: dict[int, tuple[str, str, str]] = {}
        self._table: dict[type, Callable[[Any], Any]] = {}
        self._types: set[type] = set()
        self._restored: dict[str, Any] = {}
        self._parts: Mapping[str, bytes] = {}

    def pickled(self, documents: Mapping[str, Any]) -> dict[str, bytes]:
        """Returns the parts: documents, every backend, and S3's objects, whose bodies it writes into files."""
        backends = dict(_named_backends())
        self._names = {id(backend): name for name, backend in backends.items()}
        self._prepare({type(backend) for backend in backends.values()})
        self.bodies, self._seen = set(), {}
        parts = {_DOCUMENT + name: self._dumped(value) for name, value in documents.items()}
        parts |= {_BACKEND + "/".join(name): self._dumped(vars(backend)) for name, backend in backends.items()}
        self._objects = self._seen
        return parts | {found.name: found.content for found in self._objects.values()}

    def unpickled(self, parts: Mapping[str, bytes]) -> dict[str, Any]:
        """Replaces the contents of moto's backends by those of the parts; returns the documents."""
        self._parts, self._restored = parts, {}
        # Creates all before filling the first, because they refer to each other.
        contents = [
            (_backend(*name.removeprefix(_BACKEND).split("/")), content)
            for name, content in parts.items()
            if name.startswith(_BACKEND)
        ]
        for backend, content in contents:
            backend.__dict__ = self._loaded(content)
        documents = {
            name.removeprefix(_DOCUMENT): self._loaded(content)
            for name, content in parts.items()
            if name.startswith(_DOCUMENT)
        }
        self._parts, self._restored = {}, {}
        return documents

    def restored(self, name: str) -> Any:
        """Returns the object of S3 whose part has that name."""
        if name not in self._restored:
            kind, fields = self._loaded(self._parts[name])
            self._restored[name] = found = object.__new__(kind)
            vars(found).update(fields)
        return self._restored[name]

    def body(self, name: str) -> ObjectBody:
        """Returns the body in the file of that name."""
        return ObjectBody(self._folder / name)

    def _dumped(self, value: Any) -> bytes:
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer, protocol=5)
        pickler.dispatch_table = self._table
        pickler.dump(value)
        return buffer.getvalue()

    def _loaded(self, content: bytes) -> Any:
        return _Unpickler(io.BytesIO(content), self).load()

    def _prepare(self, backends: set[type]) -> None:
        """Fills the table of types that are not pickled by default; all others take pickle's fast path."""
        if self._types == backends:
            return
        strict = (t for t in _subclasses(dict) if t.__module__.startswith("moto."))
        self._types = backends
        self._table = copyreg.dispatch_table | {
            _LOCKS[0]: lambda _: (threading.Lock, ()),
            _LOCKS[1]: lambda _: (threading.RLock, ()),
            defaultdict: _reduce_default,
            WeakValueDictionary: lambda mapping: (WeakValueDictionary, (dict(mapping),)),  # moto's Lambda has some
            **dict.fromkeys(backends, lambda backend: (_backend, self._names[id(backend)])),
            **dict.fromkeys((FakeKey, *_subclasses(FakeKey)), lambda key: (_object, (self._pickled_object(key).name,))),
            ObjectBody: self._reduce_body,
            **dict.fromkeys(_key_types(_PRIVATE_KEYS), _reduce_private),
            **dict.fromkeys(_key_types(_PUBLIC_KEYS), _reduce_public),
            # moto's mappings convert what is set in them, and must not convert it a second time
            **dict.fromkeys(strict, _reduce_mapping),
        }

    def _pickled_object(self, key: FakeKey) -> "_PickledObject":
        if seen := self._seen.get(id(key)):
            return seen
        fields = self._fields(key)
        metadata = _plain(key._metadata)
        known = self._objects.get(id(key))
        if known and known.settled and known.values == list(fields.values()) and known.metadata == metadata:
            found = self._seen[id(key)] = known
        else:
            name = known.name if known else f"{_OBJECT}{next(self._numbers)}"
            found = _PickledObject(key, name, list(fields.values()), metadata.copy())
            self._seen[id(key)] = found  # before its content is pickled, which may refer to it
            found.content = self._dumped((type(key), fields))
        if found.body:
            self.bodies.add(found.body)
        return found

    def _fields(self, key: FakeKey) -> dict[str, Any]:
        """Returns an object's fields, after writing its body into a file."""
        fields = vars(key)
        body = fields["_value_buffer"]
        if key.disposed:
            return {**fields, "_value_buffer": None}
        if not isinstance(body, ObjectBody) or body.path is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / uuid.uuid4().hex
            write_atomic(path, key.value)
            body.close()
            fields["_value_buffer"] = ObjectBody(path)
        return fields

    def _reduce_body(self, body: ObjectBody) -> Any:
        assert body.path
        return _body, (body.path.name,)


@dataclass(eq=False)
class _PickledObject:
    """An object of S3 as it was pickled. It refers to the object, so that Python does not reuse its id."""

    key: FakeKey
    name: str
    values: list[Any]
    metadata: dict[str, Any]
    content: bytes = b""

    def __post_init__(self) -> None:
        fields = vars(self.key)
        body: ObjectBody | None = None if self.key.disposed else fields["_value_buffer"]
        self.body = body.path.name if body and body.path else ""
        self.settled = all(type(fields[name]) in _FIXED for name in fields.keys() - {"_metadata", "_transitions"})
        """Whether all its fields are replaced rather than changed, except the metadata."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], pickles: StatePickles) -> None:
        super().__init__(file)
        self._pickles = pickles

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == (__name__, _body.__name__):
            return self._pickles.body
        if (module_name, global_name) == (__name__, _object.__name__):
            return self._pickles.restored
        return super().find_class(module_name, global_name)


def backends_in_use() -> int:
    """Returns the number of backends that moto has created. Some have initial content, whose ids must not change."""
    return sum(len(account) for owner in _owners() for account in owner.values())


def _plain(metadata: Any) -> dict[str, Any]:
    """Returns the dict in moto's mapping of an object's metadata."""
    return metadata if isinstance(metadata, dict) else metadata.store


def _backend(package: str, account: str, region: str) -> BaseBackend:
    name: Any = package  # get_backend's parameter is a Literal of all of moto's packages
    return get_backend(name)[account][region]


def _body(name: str) -> ObjectBody:
    """Stands for a body in a pickle; the unpickler knows the folder."""
    raise NotImplementedError(name)


def _object(name: str) -> FakeKey:
    """Stands for an object of S3 in a pickle; the unpickler knows the parts."""
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


def _named_backends() -> Iterator[tuple[tuple[str, str, str], BaseBackend]]:
    """Yields moto's package, account and region of every backend, and the backend."""
    for owner in _owners():
        for account, region, backend in owner.iter_backends():
            yield (type(backend).__module__.split(".")[1], account, region), backend


def _owners() -> list[BackendDict[Any]]:
    return getattr(BackendDict, "_instances")  # noqa: B009
