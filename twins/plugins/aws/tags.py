"""Tags: merged with the provider's default tags, and set by each service's own calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twins.plugins.aws.calls import AwsError, Gone, Work
from twins.plugins.aws.session import AwsSession
from twins.plugins.aws.translate import map_of, pairs_of
from twins.plugins.values import UNKNOWN, has_unknown

if TYPE_CHECKING:
    from twins.plugins.aws.kinds import Kind

MEMBERS = ("Tags", "tags", "TagSet", "TagList", "ResourceTags")
KEYS = ("TagKeys", "tagKeys", "ResourceTagKeys")


def merged(session: AwsSession, tags: Any) -> Any:
    """tagsAll: the provider's default tags with a resource's own on top; UNKNOWN when any is."""
    if not session.known or has_unknown(tags):
        return UNKNOWN
    keys, beginnings = session.ignored_tags
    found = {**session.default_tags, **(tags if isinstance(tags, dict) else {})}
    return {k: v for k, v in found.items() if k not in keys and not (beginnings and k.startswith(beginnings))}


def own(session: AwsSession, tags_all: Mapping[str, str], recorded: Mapping[str, str]) -> dict[str, str]:
    """`tags` of what was found: without those that merely come from the default tags."""
    defaults = session.default_tags
    return {k: v for k, v in tags_all.items() if k in recorded or defaults.get(k) != v}


@dataclass(frozen=True)
class Tagging:
    """A service's calls for tags. The forms (map or pairs, names of members) are read from its model."""

    add: str
    remove: str
    list: str = ""
    """Empty when the kind's own read tells the tags."""
    target: Mapping[str, Any] = field(default_factory=dict)
    """API parameter -> which resource."""
    at_create: bool = True
    """Does the create call take tags?"""
    absent: Gone = ()
    service: str = ""

    def in_create(self, work: Work, kind: "Kind") -> bool:
        """Were the tags given with the create call?"""
        return self.at_create and bool(self._member(work, kind, kind.create))

    def for_create(self, work: Work, kind: "Kind", tags: dict[str, str]) -> dict[str, Any]:
        """The create call's parameters for tags."""
        member = self._member(work, kind, kind.create) if self.at_create else ""
        return {member: pairs_of(tags, work.shape(kind.service, kind.create).members[member])} if member else {}

    def change(self, work: Work, kind: "Kind", old: Mapping[str, str], new: Mapping[str, str]) -> None:
        """Make the tags what they should be, with as few calls as that takes."""
        from twins.plugins.aws.kinds import filled

        service, target = self.service or kind.service, filled(self.target, kind.values(work))
        removed = [name for name in old if name not in new]
        if removed:
            shape = work.shape(service, self.remove)
            member = next(m for m in (*KEYS, *MEMBERS) if m in shape.members)
            values: Any = removed if member in KEYS else [{"Key": key} for key in removed]
            work.call(service, self.remove, **target, **{member: values})
        added = {name: value for name, value in new.items() if old.get(name) != value}
        if added:
            member = self._member(work, kind, self.add, service)
            work.call(
                service, self.add, **target, **{member: pairs_of(added, work.shape(service, self.add).members[member])}
            )

    def read(self, work: Work, kind: "Kind", answer: Mapping[str, Any]) -> dict[str, str]:
        """All tags but AWS's own."""
        from twins.plugins.aws.kinds import filled

        told: Mapping[str, Any] = answer
        if self.list:
            try:
                told = work.call(self.service or kind.service, self.list, **filled(self.target, kind.values(work)))
            except AwsError as error:
                if not error.is_one_of(self.absent):
                    raise
                told = {}
        found = next((told[m] for m in MEMBERS if told.get(m)), {})
        keys, beginnings = work.session.ignored_tags
        return {k: v for k, v in map_of(found).items() if not k.startswith(("aws:", *beginnings)) and k not in keys}

    def _member(self, work: Work, kind: "Kind", operation: str, service: str = "") -> str:
        members = work.shape(service or kind.service, operation).members
        return next((m for m in MEMBERS if m in members), "")
