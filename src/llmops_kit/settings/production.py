"""What a stack with `production: true` must not have: weaker settings that other stacks may choose.

An endpoint in a cloud has no API keys of its own, and no target stores requests and answers: there is nothing to check
about either.
"""

from collections.abc import Iterator

from llmops_kit.clouds.aws.settings import AwsSettings
from llmops_kit.clouds.azure.settings import AzureSettings
from llmops_kit.core.errors import SettingError
from llmops_kit.settings.reading import SettingsOrigin, joined
from llmops_kit.settings.stack_settings import Settings


def require_production(settings: Settings, origin: SettingsOrigin) -> None:
    """Refuses a production stack in a cloud with weaker settings. Looks nothing up.

    Args:
        settings: of the stack; without `production: true` nothing is checked.
        origin: named in the error.

    Raises:
        SettingError: names every such setting, and the fix of each.
    """
    if settings.production and (found := list(_weaker(settings, origin))):
        raise joined(found)


def _weaker(settings: Settings, origin: SettingsOrigin) -> Iterator[SettingError]:
    of_cloud = {"aws": _of_aws(settings.aws), "azure": _of_azure(settings.azure)}.get(settings.target, iter(()))
    for path, what, fix in (*of_cloud, *_of_any(settings)):
        yield origin.error(path, f"with `production: true`: {what}", fix)


_Weaker = Iterator[tuple[tuple[str, ...], str, str]]
"""Path of a setting, what is wrong, and the fix."""


def _of_any(settings: Settings) -> _Weaker:
    for name, entry in settings.endpoints.items():
        if entry.gate == "waived":
            yield (
                ("endpoints", name, "gate"),
                "this version did not have to pass its evaluation gate",
                "promote a version that passed, without `--force`, and write `gate: required`",
            )
    budget = getattr(settings, settings.target).budget if settings.target in ("aws", "azure") else None
    if budget and not budget.monthly_usd:
        fix = "write the monthly budget of the stack, such as 100"
        yield (settings.target, "budget", "monthly_usd"), "there is no budget", fix
    if budget and not budget.emails:
        fix = "write `emails: [you@example.com]`"
        yield (settings.target, "budget", "emails"), "nobody is notified of costs and alarms", fix


def _of_aws(aws: AwsSettings) -> _Weaker:
    given = aws.roles
    creates_roles = aws.audit or not (given.training and given.endpoint and given.scheduler)
    if creates_roles and not aws.permissions_boundary_arn:
        yield (
            ("aws", "permissions_boundary_arn"),
            "roles have no permissions boundary",
            "`llmops bootstrap aws` creates one and writes it here; or name existing roles in `roles`",
        )
    if aws.network.mode == "none":
        yield (
            ("aws", "network", "mode"),
            "endpoints and jobs are in SageMaker's own network",
            "write `mode: own`, or `mode: existing` with your subnets and security groups",
        )


def _of_azure(azure: AzureSettings) -> _Weaker:
    if azure.workspace:
        yield (
            ("azure", "workspace"),
            "the network of an existing workspace can't be checked",
            "remove it, so that the kit creates one, and write `network: {mode: existing, subnet: …}`",
        )
        return
    network, closes = azure.network, "write `mode: existing` with `subnet`, so that private endpoints are the only way"
    if network.mode == "none":
        yield ("azure", "network", "mode"), "jobs and endpoints reach the Internet, and data is reached from it", closes
    if network.mode == "managed":
        what = "public access: storage, vault, registry and workspace are reached from the Internet"
        yield ("azure", "network", "mode"), what, closes
    if network.outbound == "internet":
        fix = "write `outbound: approved`, or remove it"
        yield ("azure", "network", "outbound"), "jobs and endpoints reach the Internet", fix
