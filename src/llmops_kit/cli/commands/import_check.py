"""Output of `llmops models import --check`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmops_kit.cli.context import say
from llmops_kit.cli.terminal.tables import print_fields, print_json
from llmops_kit.core.documents.recipe import BaseModelSource

if TYPE_CHECKING:
    from llmops_kit.cli.importing.import_check import ImportCheck
    from llmops_kit.core.documents.model_check import AdapterFit, ModelCheck, TemplateReport


def print_check(wanted: BaseModelSource, relative_to: Path, as_json: bool) -> None:
    """Print what works with a model once imported. Exits with code 1 if it can't be imported."""
    from llmops_kit.cli.importing.import_check import check_import

    found = check_import(wanted, say, relative_to)
    if as_json:
        print_json(found.fields())
    else:
        _print(found)
    if not found.importable:
        raise typer.Exit(1)


def _print(found: "ImportCheck") -> None:
    model = found.model
    family = found.family if found.tested else "not in docs/base-models.md: same code, never tried"
    fields = {
        "source": found.source,
        "import": "works" if found.importable else f"refused: {found.refusal}",
        "family": family,
        "architecture": f"{model.architecture or 'not stated'} ({model.model_type or 'no model_type'})",
        "parameters": f"{model.parameters / 1e6:,.0f} M" if model.parameters else "",
        "weights": f"{found.download / 1e9:.1f} GB",
        "memory": _memory(model) if model.parameters else "",
        "left out": ", ".join(found.pickles),
        "licence": f"{found.licence or 'not stated'}{'; gated: requires an account on the hub' if found.gated else ''}",
    }
    if not model.refusal:
        fields |= _template(model.template) if model.template else {"training": "no: it does not generate text"}
        fields |= {f"train {fit.adapter}": _fit(fit) for fit in model.fits}
        tensorflow = {"tensorflow": f"no: {model.tensorflow}" if model.tensorflow else "works"} if model.fits else {}
        fields |= tensorflow | found.engines
    print_fields({name: words for name, words in fields.items() if words}, as_json=False)


def _memory(model: "ModelCheck") -> str:
    cache = f"; {model.cache / 1e3:,.0f} kB of cache per token" if model.cache else ""
    return f"to serve: {2 * model.parameters / 1e9:.1f} GB in bf16, {model.parameters / 1e9:.1f} GB in int8{cache}"


def _template(report: "TemplateReport") -> dict[str, str]:
    calls = f"parsed as {report.calls}" if report.calls else "not parsed by servers"
    return {
        "system message": f"no: {report.system}" if report.system else "works",
        "tools": f"no: {report.tools}" if report.tools else f"trained; calls are {calls}",
    }


def _fit(fit: "AdapterFit") -> str:
    if fit.machine is None:
        return f"no: {fit.reason}"
    shards = ", in shards" if fit.machine.sharded else ""
    return f"{fit.machine.name}, {fit.machine.peak.total / 1e9:.1f} GB at rows of 512 tokens{shards}"
