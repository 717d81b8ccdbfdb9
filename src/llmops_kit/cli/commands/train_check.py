"""Output of `llmops train --check`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from llmops_kit.cli.commands import print_error
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.plan.run_cost import dollars
from llmops_kit.cli.terminal.tables import print_json, print_rows
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.plan.check import MachineEstimate, TrainingCheck


def check_recipe(here: Context, path: Path, machines: dict[str, Any], as_json: bool) -> None:
    """Print how each type of machine would train a recipe. Exits with code 1 if the stack's can't."""
    from llmops_kit.cli.machines.prices import load_prices
    from llmops_kit.cli.plan.check import check_training
    from llmops_kit.cli.platforms.registry import operations_of
    from llmops_kit.cli.runs.runs import other_machines, parse_recipe

    recipe = parse_recipe(path)
    platform, own = None, None
    try:
        platform = here.platform
        own = platform.require_runs()
    except KitError as e:
        say(f"notice: the stack's {'machines are' if platform else 'store and machines are'} left out: {e.what}")
    if platform and machines:
        own = other_machines(platform, own, machines)
    target = operations_of(here.target or "local")
    region = target.region.load()(here.pulumi) if target.region else ""
    prices = load_prices(region) if region else None
    found = check_training(recipe, path, platform, own, prices, say)
    if as_json:
        print_json(found.fields())
    else:
        _print_check(found)
    if found.problem:
        if not as_json:
            print_error(found.problem)
        raise typer.Exit(1)


def _print_check(found: "TrainingCheck") -> None:
    print(f"{found.recipe}: {found.parameters / 1e6:,.0f} M parameters, {found.trained / 1e6:,.1f} M of them trained")
    columns = ["machine", "gpu", "fits", "peak", "micro_batch", "how", "time", "cost", "note"]
    print_rows([_check_row(each) for each in found.machines], columns, as_json=False)
    for words in found.assumptions:
        print(words)


def _check_row(each: "MachineEstimate") -> dict[str, Any]:
    how = [
        "in shards" if each.sharded else "",
        "activations twice" if each.checkpointing else "",
        each.precision,
    ]
    notes = ["this stack's" if each.own else "", "the cheapest that fits" if each.cheapest else "", each.reason]
    return {
        "machine": each.label,
        "gpu": each.gpu,
        "fits": each.fits,
        "peak": each.peak_words,
        "micro_batch": f"{each.micro_batch} x {each.accumulation}" if each.fits else "",
        "how": ", ".join(filter(None, how)),
        "time": "unknown" if each.hours is None else _time(each.hours),
        "cost": dollars(each.usd),
        "note": "; ".join(filter(None, notes)),
    }


def _time(hours: float) -> str:
    minutes = hours * 60
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"
