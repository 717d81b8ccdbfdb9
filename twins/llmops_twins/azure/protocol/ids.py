"""Resource ids: /subscriptions/S/resourceGroups/G/providers/Namespace/type/name/… , compared without regard to case.

https://learn.microsoft.com/rest/api/resources/resources/get-by-id
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

RESOURCE_GROUPS = "Microsoft.Resources/resourceGroups"
SUBSCRIPTIONS = "Microsoft.Resources/subscriptions"


@dataclass(frozen=True)
class Id:
    """The parts of a path. `names` has one name for each segment of `type`, except for a collection or an action, whose
    last segment is in `tail` instead. `scope` is the resource that an extension or a top-level resource belongs to.
    """

    text: str
    subscription: str
    group: str
    scope: str
    type: str
    names: tuple[str, ...]
    tail: str

    @classmethod
    def parse(cls, path: str) -> "Id":
        """Parses a path; missing parts are empty."""
        text = "/" + path.strip("/")
        segments = text.strip("/").split("/")
        lower = [segment.lower() for segment in segments]
        subscription = segments[1] if lower[0] == "subscriptions" and len(segments) > 1 else ""
        group = segments[3] if subscription and lower[2:3] == ["resourcegroups"] and len(segments) > 3 else ""
        places = [i for i, segment in enumerate(lower[:-1]) if segment == "providers"]
        if not places:
            return _without_provider(text, segments, lower, subscription, group)
        last = places[-1]
        namespace, rest = (segments[last + 1] if len(segments) > last + 1 else ""), segments[last + 2 :]
        types, names = rest[0::2], rest[1::2]
        tail = types.pop() if len(types) > len(names) else ""
        scope = "/" + "/".join(segments[:last]) if last else ""
        return cls(text, subscription, group, scope, "/".join([namespace, *types]), tuple(names), tail)

    @property
    def name(self) -> str:
        """The resource's own name, the last in its id; empty for the id of a provider."""
        return self.names[-1] if self.names else ""

    @property
    def resource(self) -> str:
        """The id without the tail."""
        return self.text[: -len(self.tail) - 1] if self.tail else self.text

    @property
    def namespace(self) -> str:
        """The provider's namespace: Microsoft.Something."""
        return self.type.partition("/")[0]

    @property
    def parent(self) -> str:
        """The parent's id of a nested resource; the scope of a top-level one."""
        return self.resource.rsplit("/", 2)[0] if len(self.names) > 1 else self.scope

    @property
    def listed_type(self) -> str:
        """The type of a collection's members."""
        return f"{self.type}/{self.tail}"


def key(resource_id: str) -> str:
    """Returns the normalised form of an id, for comparison."""
    return "/" + resource_id.strip("/").lower()


def spelled(path: str, types: Iterable[str]) -> str:
    """Returns a path with Azure's spelling of its fixed words: `subscriptions`, `resourceGroups`, `providers`, and of
    known types the namespace and each part. Names are unchanged.

    Requests for …/resourcegroups/…, as the SDKs send them, are answered with …/resourceGroups/…: recordings of the
    SDKs' tests.
    """
    known: dict[str, str] = {}
    for type_ in types:
        parts = type_.split("/")
        known |= {"/".join(parts[:n]).lower(): parts[n - 1] for n in range(1, len(parts) + 1)}
    words = path.strip("/").split("/")
    if words[0].lower() == "subscriptions":
        for i, word in ((0, "subscriptions"), (2, "resourceGroups")):
            if words[i : i + 1] and words[i].lower() == word.lower():
                words[i] = word
    starts = [i for i, word in enumerate(words[:-1]) if word.lower() == "providers"]
    for start, end in pairwise([*starts, len(words)]):
        words[start], so_far = "providers", ""
        for i in (start + 1, *range(start + 2, end, 2)):
            so_far = f"{so_far}/{words[i].lower()}".lstrip("/")
            words[i] = known.get(so_far, words[i])
    return "/" + "/".join(words)


def _without_provider(text: str, segments: list[str], lower: list[str], subscription: str, group: str) -> Id:
    if lower[:1] == ["subscriptions"] and lower[2:3] == ["resourcegroups"]:
        scope = f"/subscriptions/{subscription}"
        names = (group,) if group else ()
        tail = segments[4] if len(segments) == 5 else "" if group else segments[2]
        type_ = RESOURCE_GROUPS if group else "Microsoft.Resources"
        return Id(text, subscription, group, scope, type_, names, tail)
    if lower[:1] == ["subscriptions"]:
        names = (subscription,) if subscription else ()
        tail = segments[2] if len(segments) == 3 else "" if subscription else segments[0]
        return Id(text, subscription, "", "", SUBSCRIPTIONS if subscription else "Microsoft.Resources", names, tail)
    return Id(text, "", "", "", "", (), text.strip("/"))
