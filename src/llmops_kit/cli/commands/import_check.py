"""What `llmops models import --check` prints."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from llmops_kit.cli.context import say
from llmops_kit.cli.terminal.tables import print_fields, print_json
from llmops_kit.contract.documents.recipe import BaseModelSource

if TYPE_CHECKING:
    from llmops_kit.cli.store.import_check import ImportCheck
    from llmops_kit.contract.documents.model_check import AdapterFit, ModelCheck, TemplateReport


def print_check(wanted: BaseModelSource, relative_to: Path, as_json: bool) -> None:
    """Say what an import would give. Exit code 1 if it would be refused."""
    from llmops_kit.cli.store.import_check import check_import

    found = check_import(wanted, say, relative_to)
    if as_json:
        print_json(found.fields())
    else:
        _print(found)
    if not found.importable:
        raise typer.Exit(1)


def _print(found: "ImportCheck") -> None:
    model = found.model
    family = found.family if found.tested else "not in the table (docs/base-models.md): the same code, never tried"
    fields = {
        "source": found.source,
        "import": "works" if found.importable else f"refused: {found.refusal}",
        "family": family,
        "architecture": f"{model.architecture or 'not stated'} ({model.model_type or 'no model_type'})",
        "parameters": f"{model.parameters / 1e6:,.0f} M" if model.parameters else "",
        "weights": f"{found.download / 1e9:.1f} GB",
        "memory": _memory(model) if model.parameters else "",
        "left out": ", ".join(found.pickles),
        "licence": f"{found.licence or 'not stated'}{'; gated: the hub asks for an account' if found.gated else ''}",
    }
    if not model.refusal:
        fields |= _template(model.template) if model.template else {"training": "no: it generates no text"}
        fields |= {f"train {fit.adapter}": _fit(fit) for fit in model.fits}
        tensorflow = {"tensorflow": f"no: {model.tensorflow}" if model.tensorflow else "works"} if model.fits else {}
        fields |= tensorflow | found.engines
    print_fields({name: words for name, words in fields.items() if words}, as_json=False)


def _memory(model: "ModelCheck") -> str:
    cache = f"; {model.cache / 1e3:,.0f} kB of cache for each token" if model.cache else ""
    return f"{2 * model.parameters / 1e9:.1f} GB in bf16, {model.parameters / 1e9:.1f} GB in int8{cache}, to serve it"


def _template(report: "TemplateReport") -> dict[str, str]:
    calls = f"read in the form of {report.calls}" if report.calls else "not read by servers"
    return {
        "system message": f"no: {report.system}" if report.system else "works",
        "tools": f"no: {report.tools}" if report.tools else f"trained; calls are {calls}",
    }


def _fit(fit: "AdapterFit") -> str:
    if fit.machine is None:
        return f"no: {fit.reason}"
    shards = ", in shards" if fit.machine.sharded else ""
    return f"{fit.machine.name}, {fit.machine.peak.total / 1e9:.1f} GB at rows of 512 tokens{shards}"
