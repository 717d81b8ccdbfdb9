"""bootstrap: prepare a cloud account for its first stack."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json, NothingAsked, Verbs
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_json, print_rows
from llmops_kit.core.errors import KitError, require_packages

if TYPE_CHECKING:
    from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import Bootstrapped
    from llmops_kit.cli.platforms.azure.bootstrap.bootstrap import BootstrappedSubscription

_GITHUB = "OWNER[@ID]/REPO[@ID]"
ByName = Annotated[
    bool,
    typer.Option("--by-name", help="If --github has ids: also trust tokens that name the repository without ids."),
]
bootstrap = Verbs(no_args_is_help=True, help="Prepare an account: state, secrets, CI roles.")


def register(app: typer.Typer) -> None:
    app.add_typer(bootstrap, name="bootstrap")


@bootstrap.command("aws")
def bootstrap_aws(
    context: typer.Context,
    github: Annotated[str, typer.Option(help="Create roles for this repository's workflows.", metavar=_GITHUB)] = "",
    by_name: ByName = False,
    branch: Annotated[str, typer.Option(help="Branch that may run `llmops up`.")] = "main",
    policy: Annotated[
        Path | None, typer.Option(help="Policy of the deploy role, from `llmops plan --policy`.", metavar="FILE")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes without making them.")] = False,
    _yes: NothingAsked = False,
    as_json: Json = False,
) -> None:
    """Create the state bucket and the key for secrets; with --github, roles for GitHub Actions.

    Run it once per account and region, as an administrator. Repeating it changes only what
    differs and weakens nothing. The bucket is versioned, encrypted, private and TLS only.

    Workflows of pull requests get a read-only role for previews. Those of the branch get a role
    that deploys this project's resources and no others; a permissions boundary limits the roles
    that it creates. Jobs of the environment `promote` get a role that trains, signs and promotes.

    llmops bootstrap aws --dry-run
    llmops bootstrap aws --github acme@6811672/assistant@8675309
    llmops plan --policy --out policy.json
    llmops bootstrap aws --github acme/assistant --policy policy.json
    """
    require_packages("aws", "boto3")
    from llmops_kit.cli.platforms.aws.bootstrap.bootstrap import bootstrap as run
    from llmops_kit.cli.platforms.aws.bootstrap.given_resources import given_to
    from llmops_kit.cli.platforms.aws.clients import AwsClients

    here: Context = context.obj
    document = _read(policy, "Statement", "an IAM policy") if policy else None
    clients = AwsClients()
    given = given_to(here.project, clients.caller.arn.split(":")[1])
    done = run(
        clients,
        here.project.name,
        say,
        github=github,
        by_name=by_name,
        branch=branch,
        policy=document,
        given=given,
        dry_run=dry_run,
    )
    if as_json:
        print_json(_fields(done))
        return
    _print(done)


@bootstrap.command("azure")
def bootstrap_azure(
    context: typer.Context,
    github: Annotated[str, typer.Option(help="Create identities for this repository's CI.", metavar=_GITHUB)] = "",
    by_name: ByName = False,
    branch: Annotated[str, typer.Option(help="Branch that may run `llmops up`.")] = "main",
    location: Annotated[str, typer.Option(help="Location of new resources, such as westeurope.")] = "",
    stacks: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            help="Create a resource group, identities and a signing key for this stack. Repeatable.",
            metavar="STACK",
        ),
    ] = None,
    operators: Annotated[
        list[str] | None,
        typer.Option("--operator", help="Another user of those stacks. Repeatable.", metavar="[KIND:]OBJECT_ID"),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="Role definition of the deploy identity, from `llmops plan --policy`.", metavar="FILE"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes without making them.")] = False,
    _yes: NothingAsked = False,
    as_json: Json = False,
) -> None:
    """Create the storage account for state and the key for secrets; with --github, identities for GitHub Actions.

    Run it once per subscription, as its owner; repeating it weakens nothing. The account has no
    keys and is versioned, private and TLS only. Each --for gets a group, identities and a key.

    Workflows of pull requests get a read-only identity, those of the branch one that deploys
    into those groups only, and jobs of the environment `promote` one that signs.

    llmops bootstrap azure --location westeurope --dry-run
    llmops bootstrap azure --for dev --github acme@6811672/assistant@8675309
    llmops bootstrap azure --for dev --github acme/assistant --policy role.json
    """
    require_packages("azure", "azure.identity", "azure.mgmt.core")
    from llmops_kit.cli.platforms.azure.bootstrap.bootstrap import bootstrap as run
    from llmops_kit.cli.platforms.azure.exchanges import recorded_session

    document = _read(policy, "Actions", "a role definition") if policy else None
    done = run(
        recorded_session(),
        context.obj.project.name,
        say,
        location=location,
        github=github,
        by_name=by_name,
        branch=branch,
        stacks=stacks or [],
        operators=operators or [],
        policy=document,
        dry_run=dry_run,
    )
    print_json(_azure_fields(done)) if as_json else _print_azure(done)


def _azure_fields(done: "BootstrappedSubscription") -> dict[str, Any]:
    return {
        "account": done.names.subscription,
        "region": done.location,
        "backend": done.backend,
        "secrets_provider": done.secrets_provider,
        "boundary": "",  # Azure has no boundaries; a condition limits the roles that the deploy identity assigns
        "stacks": done.stacks,
        "roles": done.roles,
        "client_ids": done.client_ids,
        "tenant": done.tenant,
        "steps": done.rows,
    }


def _print_azure(done: "BootstrappedSubscription") -> None:
    print_rows(done.rows, ["what", "state"], False)
    names = done.names
    print(f"subscription {names.subscription}, {done.location}. To keep the state and secrets of stacks there:\n")
    print(f"  export PULUMI_BACKEND_URL='{done.backend}'    # or: pulumi login '{done.backend}'")
    if done.secrets_provider:
        print(f"  pulumi stack init NAME --secrets-provider '{done.secrets_provider}'    # `llmops up` does it too\n")
    else:
        print("\nPulumi can't reach a twin's vault: a passphrase protects secrets there.\n")
    for stack, settings in done.stacks.items():
        print(f"In Pulumi.{stack}.yaml, so that the stack uses these resources:\n\n  llmops:azure:")
        print("".join(f"    {name}: {json.dumps(value)}\n" for name, value in settings.items()))
    if done.roles:
        print("For the workflows' `client-id`:\n")
        for kind, id_ in done.roles.items():
            print(f"  {kind:<8} {done.client_ids[kind]:<36}  {id_}")
        print(f"\ntenant-id {done.tenant}, subscription-id {names.subscription}")


def _fields(done: "Bootstrapped") -> dict[str, Any]:
    names = done.names
    return {
        "account": names.account,
        "region": names.region,
        "backend": names.backend,
        "secrets_provider": names.key,
        "boundary": names.boundary_arn if done.roles else "",
        "roles": done.roles,
        "steps": done.rows,
    }


def _print(done: "Bootstrapped") -> None:
    print_rows(done.rows, ["what", "state"], False)
    names = done.names
    print(f"account {names.account}, {names.region}. To keep the state and secrets of stacks there:\n")
    print(f"  export PULUMI_BACKEND_URL='{names.backend}'    # or: pulumi login '{names.backend}'")
    print(f"  pulumi stack init NAME --secrets-provider '{names.key}'    # `llmops up` does it too\n")
    if done.roles:
        print("For the workflows' `role-to-assume`:\n")
        for kind, arn in done.roles.items():
            print(f"  {kind:<8} {arn}")
        print(f"\nIn the stack file, so that its roles stay within the boundary:\n\n  llmops:aws: {{{_bound(names)}}}")


def _bound(names: Any) -> str:
    return f"permissions_boundary_arn: {names.boundary_arn}"


def _read(path: Path, member: str, what: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except OSError as e:
        raise KitError(f"can't be read: {e.strerror}", where=str(path)) from e
    except ValueError as e:
        raise KitError(f"is not JSON: {e}", where=str(path)) from e
    if not isinstance(document, dict) or member not in document:
        raise KitError(f"is not {what}", where=str(path), fix="`llmops plan --policy --out FILE` writes one")
    return document
