"""Converts property values between the engine's wire format and plain Python.

An unknown value in a preview is `UNKNOWN`. Secrets are passed as plain values plus the names of the top-level
properties that contain one; when encoded again, a property of such a name is secret as a whole.
"""

from collections.abc import Collection, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from pulumi.runtime.rpc import UNKNOWN as UNKNOWN

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"
ASSET = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"
DEFAULTS = "__defaults"
"""The input that lists the inputs filled in by the plugin, as Pulumi's bridged plugins keep it."""


def decode(struct: struct_pb2.Struct) -> tuple[dict[str, Any], set[str]]:
    """Returns a property map's plain values, and the names of those that contain a secret.

    Raises:
        ValueError: a value is an asset or an archive, which no supported type accepts.
    """
    raw = json_format.MessageToDict(struct)
    secret: set[str] = set()
    plain = {}
    for name, value in raw.items():
        plain[name], holds_secret = _plain(value)
        if holds_secret:
            secret.add(name)
    return plain, secret


def encode(values: Mapping[str, Any], secret: Collection[str] = ()) -> struct_pb2.Struct:
    """Returns plain values in the wire format."""
    struct = struct_pb2.Struct()
    wrapped = {n: {SIGNATURE: SECRET, "value": v} if n in secret else v for n, v in values.items()}
    json_format.ParseDict(wrapped, struct)
    return struct


def has_unknown(value: Any) -> bool:
    """Returns whether a value, or anything inside it, is unknown."""
    if isinstance(value, dict):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return value == UNKNOWN


def _plain(value: Any) -> tuple[Any, bool]:
    if isinstance(value, float) and value.is_integer():
        return int(value), False
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return [item for item, _ in items], any(s for _, s in items)
    if not isinstance(value, dict):
        return value, False
    kind = value.get(SIGNATURE)
    if kind == SECRET:
        return _plain(value.get("value"))[0], True
    if kind in (ASSET, ARCHIVE):
        raise ValueError("assets and archives are not supported")
    items = {name: _plain(item) for name, item in value.items()}
    return {n: item for n, (item, _) in items.items()}, any(s for _, s in items.values())
