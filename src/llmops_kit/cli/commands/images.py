"""images: build, push and pin the images of runs and endpoints."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_json
from llmops_kit.contract.errors import require_packages

images = Verbs(no_args_is_help=True, help="Build, push and pin the images of runs and endpoints.")


class Runtime(StrEnum):
    """Runtime that an image is built for."""

    process = "process"
    docker = "docker"


class Name(StrEnum):
    """The kit's images."""

    training = "training"
    training_tensorflow = "training-tensorflow"
    serving = "serving"
    serving_vllm = "serving-vllm"


Names = Annotated[
    list[Name] | None,
    typer.Argument(metavar="IMAGE", help="training, serving or serving-vllm; by default the first two."),
]
Print = Annotated[bool, typer.Option("--print", help="Print the references without writing them.")]


def register(app: typer.Typer) -> None:
    app.add_typer(images, name="images")


@images.command("build")
def build_images(
    context: typer.Context,
    names: Names = None,
    runtime: Annotated[
        Runtime | None, typer.Option(help="Default: process on a twin, docker on a cloud.", show_default=False)
    ] = None,
    print_only: Print = False,
    as_json: Json = False,
) -> None:
    """Build the images of this checkout.

    On a twin they are processes of this machine, which no cloud accepts; their
    references are written into Pulumi.<stack>.yaml. With `--runtime docker`, and
    on a cloud, Docker builds them: they are on this machine alone until
    `llmops images push`. $LLMOPS_BASE_IMAGE names another base than
    python:3.11-slim-bookworm. A stack of target local builds its images itself.

    llmops images build --stack aws-dev
    llmops images build serving --runtime docker --stack aws-dev
    """
    from llmops_kit.cli.images.images import build_for

    here: Context = context.obj
    references = build_for(here.pulumi, say, runtime=runtime.value if runtime else "", names=_names(names))
    if all(reference.startswith("process:") for reference in references.values()) and not print_only:
        _write(here, references, as_json)
        return
    _print(references, as_json)
    if not print_only:
        say("`llmops images push` pushes them, and writes their digests into the stack file")


@images.command("push")
def push_images(context: typer.Context, names: Names = None, print_only: Print = False, as_json: Json = False) -> None:
    """Push the images of this checkout to the stack's repositories, and write their digests into Pulumi.<stack>.yaml.

    Logs in by ECR's token, for this push alone, and builds what is not built
    yet. The tag is the kit's version and the hash of the image's files: what is
    there under it is not pushed again. On a twin the registry is one on this
    machine. No real account was at hand to try it on.

    llmops images push --stack aws-dev
    llmops images push serving --stack aws-dev
    """
    from llmops_kit.cli.images.images import push_for

    here: Context = context.obj
    references = push_for(here.pulumi, say, names=_names(names))
    if print_only:
        _print(references, as_json)
    else:
        _write(here, references, as_json)


def _names(names: list[Name] | None) -> tuple[str, ...]:
    from llmops_kit.cli.images.images import NAMES

    return tuple(dict.fromkeys(name.value for name in names)) if names else NAMES


def _write(here: Context, references: Mapping[str, str], as_json: bool) -> None:
    from llmops_kit.cli.images.images import setting_of

    file = here.pulumi.file
    for name, reference in references.items():
        file.set_field("images", setting_of(name), reference)
    diff = file.diff()
    file.write()
    if as_json:
        _print(references, as_json)
    else:
        print(diff or f"{file.path.name} has these images already")


def _print(references: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        print_json(dict(references))
    else:
        print("\n".join(references.values()))


@images.command("base")
def base(
    framework: Annotated[str, typer.Argument(help="Name in the sagemaker package: pytorch, djl-lmi, huggingface …")],
    region: Annotated[str, typer.Option(help="Default: that of the AWS environment.")] = "",
    instance_type: Annotated[str, typer.Option(help="Selects the CPU or the GPU image.")] = "ml.m5.xlarge",
    framework_version: Annotated[str, typer.Option(help="Default: the newest that the package knows.")] = "",
    training: Annotated[
        bool,
        typer.Option("--training", help="Use the training image, if there is one for training and one for serving."),
    ] = False,
) -> None:
    """Print the URI of AWS's image of a framework, as BASE of a Dockerfile. Requires the extra `sagemaker`.

    docker build --build-arg BASE=$(llmops images base pytorch --training --instance-type ml.g5.xlarge) …
    """
    require_packages("aws", "boto3")
    from llmops_kit.cli.platforms.aws.base_images import base_image
    from llmops_kit.cli.platforms.aws.clients import AwsClients

    where = region or AwsClients().region
    print(base_image(framework, where, version=framework_version, instance_type=instance_type, training=training))
