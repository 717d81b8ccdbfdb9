"""up, down, status: deploy, remove and inspect a stack."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json, NothingAsked, progress_on_stderr
from llmops_kit.cli.commands.orphans import Of, Orphans, Remove, Yes, sweep_orphans
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.cli.terminal.tables import print_json, print_rows

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.platform import Live, Platform
    from llmops_kit.core.documents.outputs import EndpointOutput

_MOST_HOURS = 12


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    context: typer.Context,
    dev: Annotated[
        bool, typer.Option("--dev", help="Allow a state or passphrase that is only on this machine (cloud).")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Refresh the state from live resources first, and repair drift.")
    ] = False,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Deploy the images that the stack file names, stale or not (cloud).")
    ] = False,
    _yes: NothingAsked = False,
    as_json: Json = False,
) -> None:
    """Deploy Pulumi.<stack>.yaml: preflight checks, `pulumi up`, then a check of the live endpoints.

    Creates the stack if it does not exist. Fails while another update is running; if that one
    was killed, `pulumi cancel` frees the stack, and `up` resumes.

    Images that an endpoint or a schedule needs are first built if they are missing or if the
    kit's files have changed, pushed on a cloud, and written into the stack file. On this
    machine, `up` always builds its images.

    Keep a cloud stack's state where your team reaches it: `llmops bootstrap aws` creates a
    bucket and a key for it. With --json, the output is that of `llmops status --json`, and
    progress goes to standard error.

    llmops up --stack demo
    llmops plan --stack aws-dev && llmops up --stack aws-dev
    """
    from llmops_kit.cli.deploying import deploy

    here: Context = context.obj
    with progress_on_stderr(as_json):
        deploy.up(here.pulumi, say, dev=dev, refresh=refresh, build=not no_build)
        deploy.check_live(here.platform, say)
    if as_json:
        print_json(_status(here))


def down(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Also remove models, datasets and keys; NAME is the stack's, as confirmation.",
            metavar="NAME",
        ),
    ] = "",
    discard_runs: Annotated[
        bool,
        typer.Option(
            "--discard-runs", help="Proceed even if completed runs were not collected; they are lost (cloud)."
        ),
    ] = False,
    orphans: Orphans = False,
    of: Of = None,
    remove: Remove = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove endpoints and processes; keep models, datasets and keys.

    In a cloud this also removes the files of runs, so it fails while a completed run is not
    collected.

    --orphans lists what killed updates or lost states left in the account and region (AWS) or
    the subscription (Azure). Models, datasets, images and keys stay unless --data names their
    stack; with --yes, so do resources of unknown stacks, unless --of or --data names them.

    llmops down              `llmops up` restores everything
    llmops down --data demo  also removes models, datasets and keys, for good
    llmops down --orphans
    llmops down --orphans --remove --yes --of old-trial
    """
    from llmops_kit.cli.deploying import deploy

    here: Context = context.obj
    if orphans:
        if discard_runs:
            raise typer.BadParameter("has no effect with --orphans", param_hint="--discard-runs")
        sweep_orphans(here, of=of or [], remove=remove, data=data, yes=yes, as_json=as_json)
        return
    if of or remove:
        raise typer.BadParameter("goes with --orphans", param_hint="--of" if of else "--remove")
    with progress_on_stderr(as_json):
        if data:
            deploy.down_with_data(here.pulumi, data, say)
        else:
            deploy.down(here.pulumi, say, discard_runs=discard_runs)
    if as_json:
        print_json({"stack": here.pulumi.name, "down": True, "data_removed": bool(data)})
    elif data:
        print(f"removed stack {here.pulumi.name}, its models, datasets and keys; kept {here.pulumi.file.path.name}")
        if here.pulumi.file.promoted():
            print("its `endpoints` name removed versions: delete them before the next `llmops up`")
    else:
        print(f"stack {here.pulumi.name} is down; models, datasets and keys are kept, and `llmops up` restores it")
        print(f"  `llmops down --data {here.pulumi.name}` removes them too")


def status(
    context: typer.Context,
    endpoint: Annotated[
        str, typer.Argument(help="Endpoint of --env; optional if the stack has only one.", metavar="ENDPOINT")
    ] = "",
    env: Annotated[
        bool,
        typer.Option("--env", help="Print an endpoint's URL and key as the variables that OpenAI clients read."),
    ] = False,
    hours: Annotated[
        float | None,
        typer.Option(
            help=f"With --env: hours until the key expires, at most {_MOST_HOURS}; default: 1 (cloud).",
            min=0.01,
            max=_MOST_HOURS,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the endpoints: configured and live version, health, address.

    With --env it prints `export OPENAI_BASE_URL=…` and `export OPENAI_API_KEY=…` instead.
    On AWS the key is a bearer token valid for --hours; it ends with the credentials of this
    shell, if they end sooner. On this machine it is the endpoint's own key, which does not
    expire. Anyone who has it may send requests to the endpoint.

    llmops status
    eval "$(llmops status --env chatbot)"
    """
    here: Context = context.obj
    if env:
        _print_env(here, endpoint, 1.0 if hours is None else hours, as_json)
    elif endpoint or hours is not None:
        raise typer.BadParameter("goes with --env", param_hint="ENDPOINT" if endpoint else "--hours")
    else:
        _print_status(here, as_json)


def _print_env(here: Context, endpoint: str, hours: float, as_json: bool) -> None:
    from llmops_kit.cli.commands.endpoint import choose

    access = here.platform.access(choose(here.platform, endpoint), hours)
    if as_json:
        print_json({"base_url": access.url, "api_key": access.key, "model": access.model})
        return
    print(f"export OPENAI_BASE_URL={shlex.quote(access.url)}\nexport OPENAI_API_KEY={shlex.quote(access.key)}")


def _print_status(here: Context, as_json: bool) -> None:
    from llmops_kit.core.expiry import expired_since

    found = _status(here)
    if as_json:
        print_json(found)
        return
    platform, rows = here.platform, found["endpoints"]
    expired = expired_since(platform.outputs.expires)
    print(f"stack {here.pulumi.name} ({platform.outputs.target}), store {platform.outputs.store.url}")
    columns = ["name", "asked", "serves", "state", "restarts", "url"]
    print_rows(rows, columns, False, "no endpoints yet: `llmops promote NAME@N && llmops up` creates one")
    for row in rows:
        if row["rejected"]:
            print(f"{row['name']}: {row['asked']} is rejected ({row['rejected']}); `llmops rollback` goes back")
        if waiver := row["waived"]:
            why = f"{waiver['by']}, {waiver['at']}: {waiver['reason'] or 'no reason recorded'}"
            print(printable(f"{row['name']}: the gate of {row['asked']} was waived by {why}"))
        if row["memory"]:
            print(printable(f"{row['name']}: {_memory(row['memory'])}"))
        if row["drift"]:
            print(f"{row['name']} has drifted; `llmops up --refresh` repairs it")
    if waiting := _not_deployed(here, platform):
        print(f"not deployed yet: {waiting}; `llmops up` deploys it")
    if expired:
        print(
            f"the stack expired on {expired:%Y-%m-%d %H:%M} UTC: `llmops down` removes it, a later `expires` keeps it"
        )


def _status(here: Context) -> dict[str, Any]:
    """Return the JSON output for a deployed stack."""
    from llmops_kit.core.expiry import expired_since

    platform = here.platform
    outputs = platform.outputs
    return {
        "stack": here.pulumi.name,
        "target": outputs.target,
        "store": outputs.store.url,
        "expires": outputs.expires,
        "expired": bool(expired_since(outputs.expires)),
        "endpoints": [_endpoint_row(platform, name) for name in outputs.endpoints],
    }


def _endpoint_row(platform: "Platform", name: str) -> dict[str, Any]:
    from llmops_kit.cli.deploying.promotion import waivers

    output = platform.outputs.endpoints[name]
    live = platform.live(name)
    known = {a.sha256: f"{a.name}@{a.number}" for a in platform.store().versions()}
    known[output.sha256] = output.model.partition("@sha256")[0]
    serving = {known.get(sha, f"sha256:{sha[:12]}"): part for sha, part in live.models.items()}
    several = len(serving) > 1
    return {
        "name": name,
        "asked": known[output.sha256],
        "serves": ", ".join(f"{m} {100 * part:.0f} %" if several else m for m, part in serving.items()),
        "state": _state(output, live),
        "ready": live.ready,
        "workers": live.workers,
        "restarts": live.restarts,
        "memory": live.memory,
        "shares": live.models,
        "drift": _drift(output, live),
        "rejected": platform.store().rejection(output.sha256),
        "waived": next((w for w in reversed(waivers(platform.store(), name)) if w["model"] == output.model), None),
        "sha256": output.sha256,
        "url": output.url,
        "key": output.key,
        "image": output.image,
    }


def _memory(memory: dict[str, Any]) -> str:
    limit = f"{memory['limit'] >> 20} MiB of memory a server"
    if memory["unwatched"]:
        return f"{limit}, which nobody watches: {memory['unwatched']}"
    last = f"; last: {memory['last']}" if memory["last"] else ""
    return f"{limit}; {memory['replaced']} replaced, {memory['killed']} killed{last}"


def _state(output: "EndpointOutput", live: "Live") -> str:
    if not output.on:
        return "off"
    words = "ready" if live.ready else "not ready"
    found = [*([live.problem] if live.problem else []), *_drift(output, live)]
    return f"{words}: {'; '.join(found)}" if found else words


def _drift(output: "EndpointOutput", live: "Live") -> list[str]:
    """Return live configuration that differs from the deployment."""
    others = [sha for sha, part in live.models.items() if part > 0 and sha != output.sha256]
    return [*(f"serves sha256:{sha[:12]}, which was not deployed" for sha in others if output.on), *live.drift]


def _not_deployed(here: Context, platform: "Platform") -> str:
    """Return endpoints whose model in the stack file differs from the deployed one."""
    asked = {n: e.model for n, e in here.pulumi.file.promoted().items()}
    deployed = {n: e.model for n, e in platform.outputs.endpoints.items()}
    found = [n for n in sorted({*asked, *deployed}) if asked.get(n) != deployed.get(n)]
    return ", ".join(f"{n} ({asked[n].partition('@sha256')[0] if n in asked else 'removed'})" for n in found)
