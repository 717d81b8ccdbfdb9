"""plan: changes and cost of the next `up`, and the prices that it knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json, Verbs, with_stack
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_done, print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmops_kit.cli.interfaces.costs import Total
    from llmops_kit.cli.plan.plan import Plan
    from llmops_kit.policies.model import Violation
    from llmops_kit.policies.rules import Verdict

_VERBS = {"create": "creates", "update": "updates", "replace": "replaces", "delete": "deletes"}
_Region = Annotated[
    str, typer.Option(help="Region, such as eu-central-1 or westeurope. Default: the shell's.", metavar="REGION")
]

plans = Verbs()
prices = Verbs(no_args_is_help=True, help="Show and update the price table that `llmops plan` uses.")


def register(app: typer.Typer) -> None:
    plans.callback(invoke_without_command=True, subcommand_metavar="[prices]")(with_stack(plan))
    plans.add_typer(prices, name="prices")
    app.add_typer(plans, name="plan")


def plan(
    context: typer.Context,
    tokens_per_second: Annotated[
        float, typer.Option(help="Measured throughput of one instance, for the cost per million tokens.", min=0)
    ] = 0.0,
    refresh: Annotated[bool, typer.Option("--refresh", help="Refresh the state from live resources first.")] = False,
    policy: Annotated[
        bool, typer.Option("--policy", help="Record the deployer's permissions on a twin, and print them.")
    ] = False,
    use: Annotated[
        bool,
        typer.Option(
            "--use", help="With --policy: print the permissions of users who train, promote and send requests."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="With --policy: file to write them to, as JSON.", metavar="FILE")
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with code 2 if there are changes.")
    ] = False,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Preview `up --no-build`: the images that the stack file names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Preview the next `up`: changes, rollout, duration, cost. Changes nothing.

    Endpoints are listed with their version, the rollout strategy that applies, and the
    instances that run during the rollout. Instances of endpoints and runs are compared with the
    account's quotas; machines with GPUs with the NVIDIA driver that the cloud documents. Each
    price has a source and a date, or is called unknown. Scheduled runs
    of a deployed stack are listed with their peak memory and the cheapest machine that fits,
    and images that `up` builds first with the reason.

    Exit code 3: the stack breaks a rule of the kit, such as encryption or TLS only, and
    `accepted_rules` in the stack file gives no reason to accept it.

    llmops plan --stack aws-dev
    llmops plan --refresh --detailed-exitcode   exit code 2: drift or changes
    llmops plan --policy --out policy.json      permissions of the deployer
    llmops plan --policy --use                  permissions of the stack's users
    """
    if context.invoked_subcommand:
        _require_no_options(context)
        return
    if policy:
        _policy(context.obj, out, use)
        return
    if out or use:
        raise typer.BadParameter("has no effect without --policy", param_hint="--out" if out else "--use")
    from llmops_kit.cli.plan.plan import make_plan

    made = make_plan(context.obj.pulumi, say, tokens_per_second=tokens_per_second, refresh=refresh, build=not no_build)
    if as_json:
        print_json(_fields(made))
    else:
        _print(made)
    _exit(made, detailed_exitcode)


def _exit(made: "Plan", detailed_exitcode: bool) -> None:
    """Raises Exit with code 3 if the stack breaks a rule, or with 2 if changes were asked for and there are any."""
    if made.verdict.refused:
        raise typer.Exit(3)
    if detailed_exitcode and made.changes:
        raise typer.Exit(2)


def _require_no_options(context: typer.Context) -> None:
    """Raises BadParameter if options of `plan` stand before a subcommand, on which they have no effect."""
    if any(value for name, value in context.params.items() if name != "stack"):
        raise typer.BadParameter(f"have no effect on `{context.invoked_subcommand}`", param_hint="options of `plan`")


def _policy(here: Context, out: Path | None, use: bool) -> None:
    import json

    if use:
        from llmops_kit.cli.platforms.registry import use_policy

        policy, what = use_policy(here.pulumi.outputs()), "permissions of all commands that deploy nothing"
    else:
        from llmops_kit.cli.deploying.policy import record_policy

        policy, what = record_policy(here.pulumi, say), "permissions of `up`, updates, `llmops down` and `down --data`"
    text = json.dumps(policy, indent=2)
    if out is None:
        print(text)
        return
    out.write_text(text + "\n")
    print(f"written to {out}: {what}")


@prices.command("show")
def show_prices(region: _Region = "", as_json: Json = False) -> None:
    """List the known prices of a region, with source and date.

    llmops plan prices show --region us-east-1
    llmops plan prices show --region westeurope
    """
    from llmops_kit.cli.machines.prices import known_regions, load_prices

    name = _region(region)
    found = load_prices(name)
    empty = f"no prices of {name} are known; `llmops plan prices refresh --region {name}` fetches them (known: "
    empty += ", ".join(known_regions()) + ")"
    print_rows(list(found.rows()), ["kind", "name", "usd", "per", "date"], as_json, empty)
    if not as_json:
        print("\n".join(found.sources))


@prices.command("refresh")
def refresh_prices(
    region: _Region = "",
    file: Annotated[
        Path | None, typer.Option(help="Price table to write. Default: this machine's.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a region's prices from its cloud's public price list. Needs no account.

    A region with dashes is AWS's, one without is Azure's.

    llmops plan prices refresh --region eu-central-1
    llmops plan prices refresh --region westeurope
    llmops plan prices refresh --region us-east-1 --file llmops/prices.json
    """
    from llmops_kit.cli.machines.prices import is_azure, refresh, refreshed_file

    name = _region(region)
    say(f"fetching {'Azure' if is_azure(name) else 'AWS'}'s price list of {name} (some megabytes)")
    found = refresh(name, file)
    count, target = len(list(found.rows())), file or refreshed_file()
    fields = {"region": name, "prices": count, "file": str(target)}
    print_done(f"{count} prices of {name} written to {target}", fields, as_json)


def _region(given: str) -> str:
    import os

    from llmops_kit.core.errors import KitError

    name = given or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    if not name:
        raise KitError(
            "which region?", where="--region", fix="write --region us-east-1 or --region westeurope, or set $AWS_REGION"
        )
    return name


def _fields(made: "Plan") -> dict[str, Any]:
    from dataclasses import asdict

    fields = asdict(made)
    fields["versions"] = {n: {"before": b, "after": a} for n, (b, a) in made.versions.items()}
    fields["quotas"] = [asdict(q) | {"enough": q.enough} for q in made.quotas]
    fields["usd_an_hour"] = {"idle": made.idle.usd, "busy": made.busy.usd, "without": made.idle.unknown}
    return fields


def _print(made: "Plan") -> None:
    place = f"stack {made.stack} ({made.target}{f', {made.region}' if made.region else ''})"
    print(f"{place}: {_summary(made)}\n")
    _print_images(made)
    for name, (before, after) in made.versions.items():
        if before != after:
            print(f"  endpoint {name}: {before or 'new'} -> {after or 'removed'}")
    for name, words in [*((n, ", ".join(found)) for n, found in made.limits.items()), *made.memory.items()]:
        print(f"  endpoint {name}: {words}")
    for action, verb in _VERBS.items():
        _print_changes(made, action, verb)
    if made.endpoints:
        print_rows([_endpoint(e) for e in made.endpoints], ["endpoint", "rollout", "at_least", "instances"], False)
    if made.costs:
        print_rows([_cost(c) for c in made.costs], ["what", "idle_$/h", "busy_$/h", "source"], False)
        print(_together(made.idle, made.busy))
    for cost in made.tokens:
        amount = "unknown" if cost.usd is None else f"${cost.usd:.3f}"
        print(f"{cost.endpoint}: {amount} per million tokens ({cost.basis})")
    if known := [driver.words for driver in made.drivers if not driver.warning]:  # the others are warnings
        print("\n".join(known))
    for quota in made.quotas:
        code, allowed = (
            quota.code or "code unknown",
            f"unknown ({quota.why})" if quota.allowed is None else quota.allowed,
        )
        taken = f", used by others {quota.taken}" if quota.taken else ""
        print(f"quota {code}, {quota.name}: {quota.needs} {quota.needed}, allowed {allowed}{taken}")
    _print_trainings(made)
    for warning in made.warnings:
        print(f"warning: {warning}")
    _print_verdict(made.verdict)


def _print_trainings(made: "Plan") -> None:
    for training in made.trainings:
        if training.fits is not False:  # else it is a warning
            print(f"schedule {training.schedule}, run {training.run}: {training.words}")


def _print_images(made: "Plan") -> None:
    for image in made.images:
        verb = "builds and pushes" if image.pushed else "builds"
        print(f"  image {image.name}: {image.why}; `up` {verb} it first (--no-build: not)")


def _together(idle: "Total", busy: "Total") -> str:
    """Return the total line: a lower bound if some prices are unknown, no amount if all are."""
    if idle.usd is None or busy.usd is None:
        return "total unknown: no price of this stack is known; `llmops plan prices refresh` fetches prices"
    amounts = f"${idle.usd:.3f} an hour idle (${idle.usd * 730:,.0f} a month), ${busy.usd:.3f} busy"
    if not idle.unknown:
        return f"total {amounts}"
    count = len(idle.unknown)
    lacking = "1 price is unknown" if count == 1 else f"{count} prices are unknown"
    return f"total at least {amounts}: {lacking}; `llmops plan prices refresh` fetches prices"


def _print_verdict(verdict: "Verdict") -> None:
    for (advisory, rule, what, fix), found in _alike(verdict.violations).items():
        print(f"{'advice' if advisory else 'broken rule'} {rule}: {', '.join(found)} {what}\n  fix: {fix}")
    if verdict.refused:
        rules = ", ".join(sorted({each.rule for each in verdict.refused}))
        print(f"  or accept with a reason in the stack file: `accepted_rules: {{<rule>: <reason>}}` ({rules})")
    for (_, rule, what, _), found in _alike(verdict.accepted).items():
        print(f"accepted {rule}: {', '.join(found)} {what}")
    for rule in verdict.unused:
        print(f"warning: accepted_rules: nothing breaks {rule}: remove it")
    for each in verdict.unjudged:
        print(f"not checked before `up`: {each}")


def _alike(violations: "Sequence[Violation]") -> dict[tuple[bool, str, str, str], list[str]]:
    """Group resources that violate a rule in the same way."""
    found: dict[tuple[bool, str, str, str], list[str]] = {}
    for each in violations:
        found.setdefault((each.advisory, each.rule, each.what, each.fix), []).append(each.resource)
    return found


def _summary(made: "Plan") -> str:
    counts = [(action, sum(c.action == action for c in made.changes)) for action in _VERBS]
    words = [f"{verb} {n}" for (action, n), verb in zip(counts, _VERBS.values(), strict=True) if n]
    return ", ".join(words) if words else "nothing to change"


def _print_changes(made: "Plan", action: str, verb: str) -> None:
    found = [c for c in made.changes if c.action == action]
    if not found:
        return
    print(f"{verb}:")
    for change in found:
        why = f", because {', '.join(change.because)} can't be changed in place" if change.because else ""
        what = f": {', '.join(change.properties)}" if change.properties else ""
        name = "" if change.name == change.kind else f" {change.name}"
        print(f"  {change.kind}{name}{what}{why}")
        for path in change.paths:
            print(f"    removes {path}")
    print()


def _endpoint(endpoint: Any) -> dict[str, Any]:
    minutes = endpoint.at_least_seconds / 60
    return {
        "endpoint": endpoint.name,
        "rollout": endpoint.strategy,
        "at_least": f"{minutes:.0f} min of waiting" if minutes else "-",
        "instances": f"{endpoint.instances} x {endpoint.instance_type}, {endpoint.during_update} meanwhile",
    }


def _cost(line: Any) -> dict[str, Any]:
    def words(amount: float | None) -> str:
        return "unknown" if amount is None else f"{amount:.4f}"

    return {"what": line.what, "idle_$/h": words(line.idle), "busy_$/h": words(line.busy), "source": line.source}
