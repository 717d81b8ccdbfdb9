"""export: write runs in the formats of other tools."""

from pathlib import Path
from typing import Annotated

import typer

from contract.errors import KitError
from llmops.context import Context, say

export = typer.Typer(no_args_is_help=True, help="Write runs in the formats of other tools.")


def register(app: typer.Typer) -> None:
    app.add_typer(export, name="export", rich_help_panel="Clouds")


@export.command("sagemaker")
def export_sagemaker(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="The run's id, its beginning, or `latest`.", metavar="RUN")],
    out: Annotated[Path | None, typer.Option(help="File to write. Default: standard output.", metavar="FILE")] = None,
) -> None:
    """Write a run as a Python program for the SageMaker SDK (ModelTrainer, sagemaker 3), which starts the same job.

    The program needs that SDK and nothing of the kit; the kit needs nothing of the SDK.

    llmops export sagemaker latest --out train.py
    """
    from llmops.export.sagemaker import modeltrainer_script
    from llmops.runs.runs import find_run

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
