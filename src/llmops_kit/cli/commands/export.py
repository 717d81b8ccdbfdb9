"""export: write runs and versions in the formats of other tools."""

from pathlib import Path
from typing import Annotated

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_done
from llmops_kit.core.errors import KitError

export = Verbs(no_args_is_help=True, help="Write runs and model versions in the formats of other tools.")


def register(app: typer.Typer) -> None:
    app.add_typer(export, name="export")


@export.command("sagemaker")
def export_sagemaker(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="The run's id, its beginning, or `latest`.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option(help="File to write. Default: standard output.", metavar="FILE")] = None,
) -> None:
    """Write a Python program that starts the same job with the SageMaker SDK (ModelTrainer, sagemaker 3).

    The program needs only that SDK, and nothing from the kit.

    llmops export sagemaker latest --out train.py
    """
    from llmops_kit.cli.export.sagemaker import modeltrainer_script
    from llmops_kit.cli.runs.runs import find_run

    here: Context = context.obj
    found = find_run(here.platform, run)
    request = here.platform.job_request(found.spec.id)
    outputs = here.platform.outputs
    assert outputs.aws
    place = {"stack": outputs.stack, "region": outputs.aws.region, "job": outputs.aws.job_prefix}
    text = modeltrainer_script(request, run=found.spec.id, **place)
    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text)
    except OSError as e:
        raise KitError(f"can't be written: {e.strerror}", where=str(out)) from e
    say(f"{out}: `pip install 'sagemaker>=3'`, then `python {out}`")


@export.command("run")
def export_run(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="The run's id, its beginning, or `latest`.", metavar="RUN")],
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for event files: `tensorboard --logdir`.", metavar="DIR")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="File for the metrics of each step, as JSON lines.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a collected run's metrics, scores and recipe for TensorBoard, or its metrics as JSON lines for other tools.

    llmops export run latest --tensorboard ./events
    llmops export run latest --metrics metrics.jsonl
    """
    from llmops_kit.cli.runs.runs import collected_version, find_run
    from llmops_kit.cli.tracking.event_files import write_events
    from llmops_kit.cli.tracking.records import run_record
    from llmops_kit.core.documents.training_metrics import metrics_text

    if not (tensorboard or metrics):
        raise typer.BadParameter("say what to write", param_hint="--tensorboard, --metrics")
    here: Context = context.obj
    record = run_record(here.platform, collected_version(here.platform, find_run(here.platform, run)))
    written: dict[str, str] = {}
    if metrics:
        target = here.cwd / metrics
        try:
            target.write_text(metrics_text(record.steps))
        except OSError as e:
            raise KitError(f"can't be written: {e.strerror}", where=str(target), fix="--metrics FILE") from e
        written["metrics"] = str(target)
    if tensorboard:
        written["tensorboard"] = str(write_events(record, here.cwd / tensorboard))
    print_done("\n".join(written.values()), {"run": record.run, **written}, as_json)


@export.command("hub")
def export_to_hub(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="name@3 or name@latest.", metavar="NAME@N")],
    folder: Annotated[Path, typer.Argument(help="Folder to write to: new or empty.", metavar="FOLDER")],
    as_json: Json = False,
) -> None:
    """Write a version as a Hugging Face model folder. Nothing is uploaded.

    Checks the signature and every file first. The folder has safetensors, configuration,
    tokenizer, chat template, model card and licence, and the adapter if one was trained.

    llmops export hub chatbot@3 ./chatbot
    """
    from llmops_kit.cli.export.hub import export_hub

    here: Context = context.obj
    target = here.cwd / folder
    ref = export_hub(here.platform, version, target, say)
    words = f"{target}: {ref.alias} for transformers; `hf upload ORG/NAME {folder}` publishes it"
    print_done(words, {"model": ref.alias, "sha256": ref.sha256, "folder": str(target)}, as_json)
