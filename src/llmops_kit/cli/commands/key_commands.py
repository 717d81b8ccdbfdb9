"""keys, and models resign and revoke: the keys that sign versions; keys api: the keys of an endpoint's callers."""

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.commands.endpoint import choose
from llmops_kit.cli.commands.models import models
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_done, print_fields, print_rows

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.issued_keys import IssuedKeys
    from llmops_kit.core.key_file import ApiKey

keys = Verbs(no_args_is_help=True, help="Rotate and revoke the keys that sign versions; issue API keys.")
api = Verbs(no_args_is_help=True, help="Issue, list and revoke the API keys of an endpoint's callers.")
keys.add_typer(api, name="api")

_Name = Annotated[str, typer.Argument(help="Name of the key, in the log too.", metavar="NAME")]
_Reason = Annotated[str, typer.Option(help="Why, in one line; recorded.", metavar="TEXT")]
_Endpoint = Annotated[str, typer.Option(help="Endpoint; optional if the stack has only one.", metavar="NAME")]
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
_NEVER = "never"
_DAY_SECONDS = 86_400


def register(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys")


@keys.command("list")
def list_signing_keys(context: typer.Context, as_json: Json = False) -> None:
    """List the keys that sign versions, or did: which one signs, which verify, which are revoked."""
    from dataclasses import asdict

    from llmops_kit.cli.deploying.signing_keys import keys_of

    here: Context = context.obj
    print_rows([asdict(key) for key in keys_of(here.platform)], ["id", "state", "reason"], as_json)


@keys.command("rotate")
def rotate_key(
    context: typer.Context,
    to: Annotated[
        str, typer.Option(help="Existing key of the cloud, where the stack file names one.", metavar="KEY")
    ] = "",
    as_json: Json = False,
) -> None:
    """Let another key sign from the next `up` on. Versions of the former key are loaded until it is revoked.

    Changes the stack file, which you can review and commit. `llmops up` makes the key and tells
    endpoints to trust both.

    llmops keys rotate && llmops up
    """
    from llmops_kit.cli.deploying.signing_keys import rotate

    here: Context = context.obj
    diff = rotate(here.platform, here.pulumi.file, to)
    print_done(f"{diff}\n\n`llmops up` deploys it, `llmops models resign` signs versions anew", {"diff": diff}, as_json)


@keys.command("revoke")
def revoke_signing_key(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="Id, or its first 8 digits.", metavar="KEY")],
    reason: _Reason,
    as_json: Json = False,
) -> None:
    """Stop trusting a key that signed: at once for promotions and copies, and for endpoints at the next `up`.

    Refused while a version in the stack file has no other signature.

    llmops keys revoke 9f86d081 --reason "laptop stolen"
    """
    from llmops_kit.cli.deploying.signing_keys import revoke_key

    here: Context = context.obj
    name = revoke_key(here.platform, here.pulumi.file, key, reason)
    words = f"{name} is revoked. Commit the stack file; `llmops up` makes endpoints stop trusting it"
    print_done(words, {"id": name, "reason": reason}, as_json)


@models.command("resign")
def resign_models(
    context: typer.Context,
    versions: Annotated[list[str], typer.Argument(help="name@3 or name@latest.", metavar="NAME@N…")],
    as_json: Json = False,
) -> None:
    """Sign versions anew with the key that signs now, after checking their files.

    Signatures of other keys that the stack trusts are kept. A version that only a revoked key
    signed is signed too: name it only if you know that it is yours.

    llmops models resign chatbot@3 chatbot@4
    """
    from llmops_kit.cli.store.resigning import resign

    here: Context = context.obj
    store, rows = here.platform.store(), []
    for ref in [store.find(version) for version in versions]:
        signed = resign(store, ref, here.platform.outputs.signing.public_key, here.platform.signing_key, say)
        rows.append({"model": ref.alias, "signed": signed, "sha256": ref.sha256})
    print_rows(rows, ["model", "signed", "sha256"], as_json)


@models.command("revoke")
def revoke_model(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="name@3 or name@latest.", metavar="NAME@N")],
    reason: _Reason,
    as_json: Json = False,
) -> None:
    """Revoke a version for good: it is no longer promoted, copied or loaded.

    Servers that have loaded it go on until they are restarted.

    llmops models revoke chatbot@3 --reason "trained on leaked data"
    """
    from llmops_kit.cli.deploying.promotion import require_line
    from llmops_kit.cli.store.resigning import revoke_version

    require_line(reason, "--reason")
    here: Context = context.obj
    store = here.platform.store()
    ref = store.find(version)
    revoke_version(store, ref, here.platform.outputs.signing.public_key, here.platform.signing_key, reason)
    serving = [name for name, entry in here.pulumi.file.promoted().items() if entry.model == str(ref)]
    for name in serving:
        say(f"endpoint {name} serves it until `llmops rollback --endpoint {name}` and `llmops up`")
    print_done(f"{ref.alias} is revoked", {"model": ref.alias, "reason": reason, "endpoints": serving}, as_json)


@api.command("issue")
def issue_key(
    context: typer.Context,
    name: _Name,
    owner: Annotated[str, typer.Option(help="Who answers for the key.", metavar="OWNER")],
    endpoint: _Endpoint = "",
    expires: Annotated[
        str, typer.Option(help="After so many days (30d), at a date or time (2026-12-31), or never.", metavar="WHEN")
    ] = "90d",
    requests_per_minute: Annotated[int | None, typer.Option(help="Default: no limit.", min=1)] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option(help="Of prompts and answers, from midnight UTC. Default: no limit.", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print it, this once: the kit keeps its hash.

    It is accepted at once, without a restart. All servers of the endpoint count its tokens and
    requests together.

    llmops keys api issue search --owner team-search --expires 30d
    llmops keys api issue reports --owner bi --tokens-per-day 5000000
    """
    from llmops_kit.core.network.api_key import key_digest, new_api_key

    key = new_api_key()
    fields = {"owner": owner, "requests_per_minute": requests_per_minute, "tokens_per_day": tokens_per_day}
    record = _record({"name": name, "sha256": key_digest(key), "expires": _expiry(expires), **fields})
    _issued(context.obj, endpoint).add(record)
    print_fields({"api_key": key, **_row(record)}, as_json)


@api.command("list")
def list_keys(context: typer.Context, endpoint: _Endpoint = "", as_json: Json = False) -> None:
    """List the keys with their owners, expiry and limits, and the tokens that each has used today."""
    from llmops_kit.cli.interfaces.issued_keys import OWN_KEY
    from llmops_kit.core.errors import KitError

    issued = _issued(context.obj, endpoint)
    used: dict[str, int] | None = None
    try:
        used = issued.used_today()
    except KitError as e:
        say(f"{e}; {e.fix}")
    rows = [_row(key) for key in issued.list()]
    rows += [{"name": OWN_KEY, "owner": "the endpoint's own key", "expires": _NEVER, "expired": False}]
    for row in rows:
        row["tokens_today"] = None if used is None else used.get(str(row["name"]), 0)
    columns = ["name", "owner", "expires", "expired", "requests_per_minute", "tokens_per_day", "tokens_today"]
    print_rows(rows, columns, as_json)


@api.command("revoke")
def revoke_key(context: typer.Context, name: _Name, endpoint: _Endpoint = "", as_json: Json = False) -> None:
    """Take an API key back at once, without a restart; answers that have begun are completed."""
    issued = _issued(context.obj, endpoint)
    row = _row(issued.remove(name))
    print_done(f"{name} is revoked: endpoint {issued.endpoint} no longer accepts it", row, as_json)


def _issued(here: Context, endpoint: str) -> "IssuedKeys":
    return here.platform.issued_keys(choose(here.platform, endpoint))


def _record(fields: dict[str, Any]) -> "ApiKey":
    from pydantic import ValidationError

    from llmops_kit.core.key_file import ApiKey
    from llmops_kit.core.validation import first_message

    try:
        return ApiKey.model_validate(fields)
    except ValidationError as e:
        field = str(e.errors()[0]["loc"][0])
        raise typer.BadParameter(f"{field}: {first_message(e)}") from None


def _expiry(text: str) -> str:
    """Returns when a key expires, in a form that ApiKey takes; empty: never."""
    from llmops_kit.core.expiry import expired_since, utc_text

    if text == _NEVER:
        return ""
    if days := _DAYS.fullmatch(text):
        return utc_text(time.time() + int(days[1]) * _DAY_SECONDS)
    if not text or expired_since(text):
        raise typer.BadParameter(f"{text!r} is over: write 30d, a date that is to come, or never")
    return text


def _row(key: "ApiKey") -> dict[str, Any]:
    from llmops_kit.core.expiry import utc_text

    expired = key.has_expired(utc_text(time.time()))
    row = {"name": key.name, "owner": key.owner, "expires": key.expires or _NEVER, "expired": expired}
    return row | {"requests_per_minute": key.requests_per_minute, "tokens_per_day": key.tokens_per_day}
