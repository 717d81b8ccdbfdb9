"""promote, rollback: set the model version that an endpoint serves, in the stack file."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.commands import Json
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_json

if TYPE_CHECKING:
    from llmops_kit.cli.deploying.promotion import PromotionChange

_Endpoint = Annotated[str, typer.Option("--endpoint", "-e", help="Name of the endpoint.", metavar="NAME")]


def register(app: typer.Typer) -> None:
    app.command()(promote)
    app.command()(rollback)


def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="name@3, name@latest or name@sha256:….", metavar="NAME@N")],
    endpoint: _Endpoint = "",
    force: Annotated[bool, typer.Option("--force", help="Promote even if the version did not pass its gate.")] = False,
    reason: Annotated[str, typer.Option(help="Reason for --force, in one line; recorded.", metavar="TEXT")] = "",
    as_json: Json = False,
) -> None:
    """Write a model version into Pulumi.<stack>.yaml after checking its signature, files and gate.

    Changes one line, which you can review, commit and revert. `llmops up` deploys it.

    Files are checked by the SHA-256 that S3 stores; without one, as on Azure, they are read. A
    gate with `not_worse_than: production` compares the version with the deployed one.

    llmops promote chatbot@latest
    llmops promote chatbot@sha256:9f86d081…
    llmops promote chatbot@3 --endpoint assistant
    llmops promote chatbot@4 --force --reason "hotfix for outage 1234"
    """
    from llmops_kit.cli.deploying.promotion import promote as write

    if force != bool(reason.strip()):
        words = 'needs --reason "why", which is recorded' if force else "has no effect without --force"
        raise typer.BadParameter(words, param_hint="--force" if force else "--reason")
    here: Context = context.obj
    change = write(here.platform, here.pulumi.file, version, endpoint, reason.strip(), say)
    _finish(here, change, as_json)


def rollback(context: typer.Context, endpoint: _Endpoint = "", as_json: Json = False) -> None:
    """Write the endpoint's previous version into Pulumi.<stack>.yaml. Repeat it to go back further.

    llmops rollback && llmops up
    """
    from llmops_kit.cli.deploying.promotion import rollback as write

    here: Context = context.obj
    _finish(here, write(here.platform, here.pulumi.file, endpoint, say), as_json)


def _finish(here: Context, change: "PromotionChange", as_json: bool) -> None:
    from llmops_kit.cli.tracking.mlflow_sync import track

    track(here.platform, say)
    _print(change, as_json)


def _print(change: "PromotionChange", as_json: bool) -> None:
    if as_json:
        fields = {"endpoint": change.endpoint, "before": change.before, "after": str(change.after)}
        print_json({**fields, "gate": "waived" if change.waived else "passed", "changed": bool(change.diff)})
        return
    if not change.diff:
        print(f"endpoint {change.endpoint} already has {change.after.alias}")
        return
    print(change.diff)
    print(
        f"\nendpoint {change.endpoint}: {change.after.alias}. `pulumi preview` shows the change, `llmops up` deploys it"
    )
