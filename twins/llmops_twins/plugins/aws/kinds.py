"""Maps types to calls: declared in kinds.json, carried out here.

An `AwsResourceKind` is one type: the operations that create, read, change and delete it, and the names that the rules
of `translate` don't find. Properties with their own calls are its `parts`. Types that need more are subclasses in
services/.
"""

import functools
import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmops_twins.plugins.aws.calls import AwsError, Gone, ResourceOperation
from llmops_twins.plugins.aws.rules import FOLDER
from llmops_twins.plugins.aws.tags import Tagging
from llmops_twins.plugins.aws.templates import Template, fill, fill_known, filled, parse_id, picked, shape_at
from llmops_twins.plugins.aws.translate import find_member, from_api, to_api
from llmops_twins.plugins.plugin import PartlyMadeError, ProviderError

MINUTE = 60.0


@dataclass(frozen=True)
class Wait:
    """A status to wait for after create and update."""

    status: str
    """The status property in the read's response (JMESPath)."""
    ready: tuple[str, ...]
    pending: tuple[str, ...]
    reason: str = ""
    """The reason of a failure in the response (JMESPath)."""
    seconds: float = 10 * MINUTE


@dataclass(frozen=True)
class KindPart:
    """Properties that have their own calls."""

    properties: tuple[str, ...]
    put: str
    """The operation that sets the properties."""
    clear: str = ""
    """The operation that removes the properties; without one, `put` is called without them."""
    get: str = ""
    """The operation that reads the properties; without one, the kind's own read returns them."""
    pick: str = "@"
    absent: Gone = ()
    """Errors of `get` and `clear` that mean that the properties are not set."""
    renames: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Constant parameters of `put`."""
    off: tuple[Any, ...] = (None, "", 0, False)
    """Values that count as absent, so that `clear` is called."""


@dataclass(frozen=True)
class AwsResourceKind:
    """The calls of one type."""

    token: str
    service: str
    """boto3's name of the service."""
    label: str
    """The type's name in the real plugin's errors."""
    id: Template
    create: str = ""
    read: str = ""
    update: str = ""
    delete: str = ""
    identity: Mapping[str, Template] = field(default_factory=dict)
    """API parameters that identify the resource, for read, update, delete and parts. Text only."""
    read_identity: Mapping[str, Any] | None = None
    """The identity for read, if it differs; a template in a list stands for a list of that one value."""
    delete_identity: Mapping[str, Any] | None = None
    pick: str = "@"
    """Path of the resource in the read's response (JMESPath; a template)."""
    prefix: str = ""
    renames: Mapping[str, str] = field(default_factory=dict)
    wrap: str = ""
    """Path of the parameter that holds the properties, if they are not parameters themselves."""
    parts: tuple[KindPart, ...] = ()
    tags: Tagging | None = None
    gone: Gone = ()
    retry: Gone = ()
    """Transient errors of create and update."""
    retry_delete: Gone = ()
    wait: Wait | None = None
    wait_gone: float = 0.0
    """Seconds in which a deleted resource must be gone; 0 skips the check."""
    outputs: Mapping[str, Template] = field(default_factory=dict)
    """Outputs that are derived rather than read."""
    unread: tuple[str, ...] = ()
    """Properties that responses lack, though they have a member of that name."""
    refused: tuple[str, ...] = ()
    """Properties that the stand-in refuses to set."""

    # Called by the provider; each may be overridden.

    def make(self, work: ResourceOperation) -> tuple[str, dict[str, Any]]:
        """Creates the resource, and returns its id and state."""
        self.refuse_unsupported(work)
        answer = self.call_create(work)
        work.id = self.id_after_create(work, answer)
        try:
            self.complete(work, answer)
        except ProviderError as error:
            raise PartlyMadeError(str(error), work.id, {**work.inputs, **work.state}) from None
        return work.id, self.state_after(work)

    def complete(self, work: ResourceOperation, answer: dict[str, Any]) -> None:
        """Completes a creation after the create call: parts, tags, waiting."""
        self.await_ready(work)
        taken = tuple(work.shape(self.service, self.create).members)
        for part in self.parts:
            given = [name for name in part.properties if not _is_off(part, work.inputs.get(name))]
            if any(not find_member(taken, n, self.renames.get(n, ""), self.prefix) for n in given):
                self.put_part(work, part)
        tags = work.inputs.get("tagsAll")
        if self.tags and tags and not self.tags.for_create(work, self.service, self.create, tags):
            work.state.update(self.find(work) or {})
            self.tags.change(work, self.service, self.values(work), {}, tags)

    def find(self, work: ResourceOperation) -> dict[str, Any] | None:
        """Returns the properties in the cloud; None if the resource does not exist."""
        try:
            answer = self.call_read(work)
        except AwsError as error:
            if error.is_one_of(self.gone):
                return None
            raise ProviderError(f"reading {self.label} ({work.id}): {error}") from None
        if not answer:
            return None
        found = self.properties_of(work, answer)
        known = ResourceOperation(work.request, work.id, {}, {}, {**work.properties, **found})
        for part in self.parts:
            if part.get:
                found |= self.get_part(known, part)
        for name, template in self.outputs.items():
            found[name] = fill(template, {**known.properties, **found})
        if self.tags:
            known.state |= found
            found["tagsAll"] = self.tags.read(known, self.service, self.values(known), answer)
        return found

    def change(self, work: ResourceOperation) -> dict[str, Any]:
        """Updates the resource, and returns its new state."""
        self.refuse_unsupported(work)
        if self.tags and "tagsAll" in work.changed:
            old, new = (d.get("tagsAll") or {} for d in (work.state, work.inputs))
            self.tags.change(work, self.service, self.values(work), old, new)
        in_parts = {name for part in self.parts for name in part.properties}
        if self.update and work.changed - in_parts - {"tags", "tagsAll"} - self.silent:
            self.call_update(work)
            self.await_ready(work)
        for part in self.parts:
            if work.changed & set(part.properties):
                if all(_is_off(part, work.inputs.get(name)) for name in part.properties) and part.clear:
                    self.clear_part(work, part)
                else:
                    self.put_part(work, part)
        return self.state_after(work)

    def remove(self, work: ResourceOperation) -> None:
        """Deletes the resource, unless the program asked to keep it."""
        if work.state.get("skipDestroy"):
            return
        try:
            self.call_delete(work)
        except AwsError as error:
            if error.is_one_of(self.gone):
                return
            raise ProviderError(f"deleting {self.label} ({work.id}): {error}") from None
        if self.wait_gone:
            work.wait(lambda: self.find(work) is None, self.wait_gone, f"{self.label} ({work.id}) to be deleted")

    def refused_change(self, state: dict[str, Any], news: dict[str, Any]) -> str:
        """Returns why a change is impossible; empty if it is possible."""
        return ""

    # Steps.

    def refuse_unsupported(self, work: ResourceOperation) -> None:
        """Refuses properties that the stand-in does not support."""
        defaults = work.rules.defaults
        used = [n for n in self.refused if n in work.inputs and (work.inputs[n] or None) != (defaults.get(n) or None)]
        if used:
            raise ProviderError(f"the stand-in plugin does not set {', '.join(used)} of {self.label}")

    def recorded(self, identity: str) -> dict[str, Any]:
        """Returns the properties in an id, which are all that is known of an imported resource."""
        return parse_id(self.id, identity)

    def values(self, work: ResourceOperation) -> dict[str, Any]:
        """Returns the values for the templates of calls: recorded ones, overlaid with properties."""
        return {**self.recorded(work.id), **work.properties}

    @property
    def silent(self) -> frozenset[str]:
        """The properties whose change makes no call."""
        return frozenset()

    def call_create(self, work: ResourceOperation) -> dict[str, Any]:
        """Makes the create call, and returns its answer."""
        parameters = self.parameters(work, self.create)
        if self.tags and work.inputs.get("tagsAll"):
            parameters |= self.tags.for_create(work, self.service, self.create, work.inputs["tagsAll"])
        name = fill_known(self.id, work.properties)
        try:
            return work.call(self.service, self.create, retry=self.retry, **parameters)
        except ProviderError as error:
            raise ProviderError(f"creating {self.label} ({name or work.request.name}): {error}") from None

    def call_read(self, work: ResourceOperation) -> dict[str, Any] | None:
        """Makes the read call, and returns the resource's object."""
        identity = self.identity if self.read_identity is None else self.read_identity
        values = self.values(work)
        return picked(work.call(self.service, self.read, **filled(identity, values)), fill(self.pick, values))

    def call_update(self, work: ResourceOperation) -> None:
        """Makes the update call, with the whole definition."""
        parameters = self.parameters(work, self.update) | filled(self.identity, self.values(work))
        try:
            work.call(self.service, self.update, retry=self.retry, **parameters)
        except ProviderError as error:
            raise ProviderError(f"updating {self.label} ({work.id}): {error}") from None

    def call_delete(self, work: ResourceOperation) -> None:
        """Deletes the resource by its identity; repeats while AWS answers with `retry_delete`."""
        identity = self.identity if self.delete_identity is None else self.delete_identity
        work.call(self.service, self.delete, retry=self.retry_delete, **filled(identity, self.values(work)))

    def parameters(self, work: ResourceOperation, operation: str) -> dict[str, Any]:
        """Returns a call's parameters for the inputs."""
        values = {n: v for n, v in work.inputs.items() if n not in ("tags", "tagsAll", "region", "__defaults")}
        shape = work.shape(self.service, operation)
        found = to_api(values, shape, self.renames, self.prefix)
        if self.wrap:
            inside = to_api(values, shape_at(shape, self.wrap), self.renames, self.prefix)
            for word in reversed(self.wrap.split(".")):
                inside = {word: inside}
            found |= inside
        return found

    def properties_of(self, work: ResourceOperation, answer: dict[str, Any]) -> dict[str, Any]:
        """Returns the properties in the resource's object of a read's response."""
        shapes = {
            n: s for n, s in work.rules.properties.items() if n not in (*self.unread, "tags", "tagsAll", "region")
        }
        return from_api(answer, shapes, self.renames, self.prefix)

    def readable(self, work: ResourceOperation) -> set[str]:
        """Returns the top-level properties that a read returns if they are set, so that their absence means that they
        are not.
        """
        shape = shape_at(work.shape(self.service, self.read, "output"), self.pick)
        members = tuple(shape.members) if shape is not None and shape.type_name == "structure" else ()
        names = {
            n
            for n in work.rules.properties
            if n not in self.unread and find_member(members, n, self.renames.get(n, ""), self.prefix)
        }
        return names | {n for part in self.parts if part.get for n in part.properties} | {"tagsAll"}

    def id_after_create(self, work: ResourceOperation, answer: dict[str, Any]) -> str:
        """Returns the id, from the inputs and the create call's response."""
        inner = [value for value in answer.values() if isinstance(value, dict)]
        told: dict[str, Any] = {}
        shapes = {**dict.fromkeys(re.findall(r"\{(\w+)\}", self.id), "string"), **work.rules.properties}
        for part in [*inner, answer] if len(inner) == 1 else [answer]:
            told |= from_api(part, shapes, self.renames, self.prefix)
        return fill(self.id, {**work.properties, **told})

    def state_after(self, work: ResourceOperation) -> dict[str, Any]:
        """Reads the state back after create or update."""
        found = self.find(work)
        if found is None:
            raise ProviderError(f"reading {self.label} ({work.id}): couldn't find resource")
        return found

    def await_ready(self, work: ResourceOperation) -> None:
        """Waits for the status in `wait`."""
        if self.wait is None:
            return
        wait = self.wait
        last: dict[str, Any] = {}

        def look() -> bool:
            last.clear()
            last.update(self.call_read(work) or {})
            status = picked(last, wait.status)
            if status in wait.ready:
                return True
            if status in wait.pending:
                return False
            reason = picked(last, wait.reason) if wait.reason else ""
            ready = ", ".join(wait.ready)
            raise ProviderError(
                f"waiting for {self.label} ({work.id}) create: unexpected state '{status}', wanted target '{ready}'. "
                f"last error: {reason or status}"
            )

        work.wait(look, wait.seconds, f"{self.label} ({work.id}) to be {' or '.join(wait.ready)}")

    def put_part(self, work: ResourceOperation, part: KindPart) -> None:
        """Sets a part's properties to the inputs."""
        shape = work.shape(self.service, part.put)
        values = {name: work.inputs.get(name) for name in part.properties}
        parameters = {**filled(self.identity, self.values(work)), **part.extra}
        parameters |= to_api(values, shape, {**self.renames, **part.renames})
        self._part_call(work, part, part.put, parameters, self.retry)

    def clear_part(self, work: ResourceOperation, part: KindPart) -> None:
        """Removes a part of the resource that has its own call; does nothing if it is gone."""
        try:
            self._part_call(work, part, part.clear, filled(self.identity, self.values(work)), ())
        except AwsError as error:
            if not error.is_one_of(part.absent):
                raise

    def get_part(self, work: ResourceOperation, part: KindPart) -> dict[str, Any]:
        """Returns a part's properties in the cloud."""
        try:
            answer = work.call(self.service, part.get, **filled(self.identity, self.values(work)))
        except AwsError as error:
            if error.is_one_of(part.absent):
                return {}
            raise
        shapes = {name: work.rules.properties[name] for name in part.properties}
        return from_api(picked(answer, part.pick) or {}, shapes, {**self.renames, **part.renames})

    def _part_call(
        self, work: ResourceOperation, part: KindPart, operation: str, parameters: dict[str, Any], retry: Gone
    ) -> None:
        try:
            work.call(self.service, operation, retry=retry, **parameters)
        except AwsError as error:
            if operation == part.clear and error.is_one_of(part.absent):
                return
            raise ProviderError(f"setting {self.label} ({work.id}) {', '.join(part.properties)}: {error}") from None


@functools.cache
def kind_of(token: str) -> AwsResourceKind:
    """Returns a type's kind.

    Raises:
        KeyError: the type is not declared.
    """
    row = dict(_rows()[token])
    module, _, name = row.pop("class", "").partition(".")
    of = (
        getattr(importlib.import_module(f"llmops_twins.plugins.aws.services.{module}"), name)
        if name
        else AwsResourceKind
    )
    row["parts"] = tuple(KindPart(**part) for part in row.get("parts", ()))
    row["tags"] = Tagging(**row["tags"]) if "tags" in row else None
    row["wait"] = Wait(**row["wait"]) if "wait" in row else None
    return of(token, **row)


@functools.cache
def _rows() -> dict[str, Any]:
    return json.loads((FOLDER / "kinds.json").read_text())


def _is_off(part: KindPart, value: Any) -> bool:
    return value is None or any(value == off and type(value) is type(off) for off in part.off)
