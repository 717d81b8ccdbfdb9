"""keys api: issue, list and revoke the API keys of an endpoint's callers."""

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.commands.endpoint import choose
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_done, print_fields, print_rows

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.issued_keys import IssuedKeys
    from llmops_kit.core.key_file import ApiKey

keys = Verbs(no_args_is_help=True, help="Issue, list and revoke keys.")
api = Verbs(no_args_is_help=True, help="Issue, list and revoke the API keys of an endpoint's callers.")
keys.add_typer(api, name="api")

_Name = Annotated[str, typer.Argument(help="Name of the key, in the log too.", metavar="NAME")]
_Endpoint = Annotated[str, typer.Option(help="Endpoint; optional if the stack has only one.", metavar="NAME")]
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
_NEVER = "never"
_DAY_SECONDS = 86_400


def register(app: typer.Typer) -> None:
    app.add_typer(keys, name="keys")


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
