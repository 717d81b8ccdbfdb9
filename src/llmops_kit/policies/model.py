"""Building blocks of rules. A rule reads only the engine's resources, never a cloud or an SDK."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The engine's placeholder for a value that is known only after `up`, in `pulumi preview --json` and its protocol."""
SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
"""The engine's placeholder for a secret: key and value in the object that replaces the secret."""
_HIDDEN = "[secret]"  # in a preview
_DYNAMIC = "pulumi-python:dynamic/"


class NotKnownError(Exception):
    """Error for a value that a rule needs, and that is secret or known only after `up`."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True)
class Resource:
    """A declared resource: its inputs, and whether it is protected."""

    type: str
    name: str
    properties: Mapping[str, Any]
    protect: bool = False
    urn: str = ""

    def get(self, path: str, default: Any = None) -> Any:
        """Returns a property, such as `encryption.keySource`, or the default if it or its parent is missing.

        Raises:
            NotKnownError: it is known only after `up`, or secret.
        """
        value: Any = self.properties
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
            if value in (UNKNOWN, _HIDDEN) or (isinstance(value, Mapping) and value.get(SIGNATURE) == SECRET):
                raise NotKnownError(f"{self.name}: {path}")
            if value is None:
                return default
        return value


@dataclass(frozen=True)
class Violation:
    """A resource's violation of a rule."""

    rule: str
    resource: str
    what: str
    fix: str
    advisory: bool = False
    """Whether it is reported without stopping the update: the settings ask for a weaker form of the rule."""
    urn: str = field(default="", repr=False)


@dataclass(frozen=True)
class Finding:
    """Result of a check: the resource, the problem and its fix."""

    resource: Resource
    what: str
    fix: str
    advisory: bool = False


Check = Callable[[Resource], Iterator[Finding]]
StackCheck = Callable[["Stack"], Iterator[Finding]]


@dataclass(frozen=True)
class Checks:
    """Checks of one resource at a time, by its type, and of the whole stack.

    The former run before a resource is created; the latter compare resources, such as buckets with their policies.
    """

    resource: Mapping[str, Sequence[Check]] = field(default_factory=dict)
    stack: Sequence[StackCheck] = ()


class Stack:
    """All resources of a stack."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources = list(resources)

    def of(self, *types: str) -> list[Resource]:
        """Returns the resources of these types."""
        return [each for each in self.resources if each.type in types]

    def parts_of(self, owner: Resource, type_: str, key: str, *names: str) -> list[Resource]:
        """Returns resources of a type that name their owner in a property.

        Args:
            owner: such as a bucket.
            type_: such as a bucket's policy.
            key: the property that names the owner.
            names: the owner's properties that hold its name.

        Raises:
            NotKnownError: a name is known only after `up`, and no part is found by the others.
        """
        known = {owner.properties.get(name) for name in names} - {None, UNKNOWN}
        found, unknown = [], not known
        for each in self.of(type_):
            value = str(each.properties.get(key))
            unknown = unknown or value == UNKNOWN
            if value in known or value.rpartition(":")[2] in known:  # by its name, or by an ARN that ends in it
                found.append(each)
        if not found and unknown:
            raise NotKnownError(f"{owner.name}: {type_.rpartition(':')[2]}")
        return found


def plain_type(type_: str) -> str:
    """Returns a resource's type without its parents' types and the engine's prefix for dynamic resources."""
    return type_.rpartition("$")[2].removeprefix(_DYNAMIC)


def must_be(path: str, *wanted: Any, what: str, fix: str) -> Check:
    """Returns a check that a property has one of the wanted values; None stands for a missing property."""

    def check(resource: Resource) -> Iterator[Finding]:
        if resource.get(path) not in wanted:
            yield Finding(resource, what, fix)

    return check


def must_be_set(path: str, what: str, fix: str) -> Check:
    """Returns a check that a property is given. A value that is known only after `up` counts."""

    def check(resource: Resource) -> Iterator[Finding]:
        try:
            missing = resource.get(path) in (None, "", 0, [], {})
        except NotKnownError:
            return
        if missing:
            yield Finding(resource, what, fix)

    return check


def must_be_protected(resource: Resource) -> Iterator[Finding]:
    """Yields a finding if a resource is not protected from `pulumi destroy`."""
    if not resource.protect:
        yield Finding(resource, "can be deleted by a plain `pulumi destroy`", "set the option `protect=True`")


def refused(what: str, fix: str) -> Check:
    """Returns a check that rejects every resource of its type."""

    def check(resource: Resource) -> Iterator[Finding]:
        yield Finding(resource, what, fix)

    return check


def each_has(owner: str, part: str, key: str, *names: str, what: str, fix: str) -> StackCheck:
    """Returns a check that each resource of a type has a part, such as a bucket its policy."""

    def check(stack: Stack) -> Iterator[Finding]:
        for resource in stack.of(owner):
            if not stack.parts_of(resource, part, key, *names):
                yield Finding(resource, what, fix)

    return check
