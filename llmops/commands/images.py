"""images: what runs and endpoints are made of."""

from typing import Annotated

import typer

from llmops.commands import Json
from llmops.context import Context, say

images = typer.Typer(
    no_args_is_help=True, help="The images that runs and endpoints start: build them, write them down."
)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.add_typer(images, name="images", rich_help_panel="Deployment")


@images.command("build")
def build_images(
    context: typer.Context,
    print_only: Annotated[
        bool, typer.Option("--print", help="Build, and print the references; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build the images of this checkout, and write their references into Pulumi.<stack>.yaml.

    On a twin they are processes of this machine, which no cloud accepts. For an account of
    your own it says which docker commands push them; a stack of target local builds
    its images itself.

    llmops images build --stack aws-dev
    """
    from llmops.images import build_for

    here: Context = context.obj
    references = build_for(here.pulumi, say)
    diff = ""
    if not print_only:
        for name, reference in references.items():
            here.pulumi.file.set_field("images", name, reference)
        diff = here.pulumi.file.diff()
        here.pulumi.file.write()
    if as_json:
        from llmops.tables import print_json

        print_json(references)
    elif print_only:
        print("\n".join(references.values()))
    else:
        print(diff or f"{here.pulumi.file.path.name} has these images already")
