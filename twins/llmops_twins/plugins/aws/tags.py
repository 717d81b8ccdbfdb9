"""Tags: merged with the provider's default tags, and set by each service's calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops_twins.plugins.aws.calls import ResourceOperation
from llmops_twins.plugins.aws.session import AwsSession
from llmops_twins.plugins.aws.templates import filled
from llmops_twins.plugins.aws.translate import map_of, pairs_of
from llmops_twins.plugins.values import UNKNOWN, has_unknown

MEMBERS = ("Tags", "tags", "TagSet", "TagList", "TagsList", "ResourceTags")
KEYS = ("TagKeys", "tagKeys", "ResourceTagKeys")


def merged(session: AwsSession, tags: Any) -> Any:
    """Returns tagsAll: a resource's tags on top of the provider's default tags; UNKNOWN if either is."""
    if not session.known or has_unknown(tags):
        return UNKNOWN
    keys, beginnings = session.ignored_tags
    found = {**session.default_tags, **(tags if isinstance(tags, dict) else {})}
    return {k: v for k, v in found.items() if k not in keys and not (beginnings and k.startswith(beginnings))}


def own(session: AwsSession, tags_all: Mapping[str, str], recorded: Mapping[str, str]) -> dict[str, str]:
    """Returns a resource's `tags`: all tags except those that only come from the default tags."""
    defaults = session.default_tags
    return {k: v for k, v in tags_all.items() if k in recorded or defaults.get(k) != v}


@dataclass(frozen=True)
class Tagging:
    """A service's calls for tags. Their form (map or pairs, names of members) comes from the service model."""

    add: str
    remove: str
    list: str = ""
    """The operation that lists tags; empty if the kind's own read returns them."""
    target: Mapping[str, Any] = field(default_factory=dict)
    """API parameters that identify the resource."""
    resource: str = ""
    """The type in EC2's tag specifications, if the create call takes those."""

    def for_create(
        self, work: ResourceOperation, service: str, operation: str, tags: Mapping[str, str]
    ) -> dict[str, Any]:
        """Returns the create call's parameters for tags; empty if it takes none."""
        if self.resource:
            pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
            return {"TagSpecifications": [{"ResourceType": self.resource, "Tags": pairs}]}
        members = work.shape(service, operation).members
        member = next((m for m in MEMBERS if m in members), "")
        return {member: pairs_of(tags, members[member])} if member else {}

    def change(
        self,
        work: ResourceOperation,
        service: str,
        values: Mapping[str, Any],
        old: Mapping[str, str],
        new: Mapping[str, str],
    ) -> None:
        """Changes the tags to the wanted ones, with as few calls as possible."""
        target = filled(self.target, values)
        removed = [name for name in old if name not in new]
        if removed:
            members = work.shape(service, self.remove).members
            member = next(m for m in (*KEYS, *MEMBERS) if m in members)
            keys: Any = removed if member in KEYS else [{"Key": key} for key in removed]
            work.call(service, self.remove, **target, **{member: keys})
        added = {name: value for name, value in new.items() if old.get(name) != value}
        if added:
            members = work.shape(service, self.add).members
            member = next(m for m in MEMBERS if m in members)
            work.call(service, self.add, **target, **{member: pairs_of(added, members[member])})

    def read(
        self, work: ResourceOperation, service: str, values: Mapping[str, Any], answer: Mapping[str, Any]
    ) -> dict[str, str]:
        """Returns all tags except AWS's own."""
        told = work.call(service, self.list, **filled(self.target, values)) if self.list else answer
        found = next((told[m] for m in MEMBERS if told.get(m)), {})
        keys, beginnings = work.session.ignored_tags
        return {k: v for k, v in map_of(found).items() if not k.startswith(("aws:", *beginnings)) and k not in keys}
