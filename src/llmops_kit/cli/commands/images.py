"""images: build, push and pin the images of runs and endpoints."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from llmops_kit.cli.commands import Json, Verbs
from llmops_kit.cli.context import Context, say
from llmops_kit.cli.terminal.tables import print_json
from llmops_kit.core.errors import require_packages

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
        Runtime | None,
        typer.Option(
            help="Runtime of the images. Default: process on a twin, docker on a real cloud.", show_default=False
        ),
    ] = None,
    print_only: Print = False,
    as_json: Json = False,
) -> None:
    """Build the images of this checkout.

    On a twin, an image is by default an environment of processes on this machine, which real
    clouds reject; its reference is written into Pulumi.<stack>.yaml. On a real cloud, or with
    `--runtime docker`, Docker builds the images, and `llmops images push` pushes them.

    $LLMOPS_BASE_IMAGE replaces the base image python:3.11-slim-bookworm. On target local,
    `llmops up` builds the images.

    llmops images build --stack aws-dev
    llmops images build serving --runtime docker --stack aws-dev
    """
    from llmops_kit.cli.images.stack_images import build_for

    here: Context = context.obj
    references = build_for(here.pulumi, say, runtime=runtime.value if runtime else "", names=_names(names))
    if all(reference.startswith("process:") for reference in references.values()) and not print_only:
        _write(here, references, as_json)
        return
    _print(references, as_json)
    if not print_only:
        say("`llmops images push` pushes them and writes their digests into the stack file")


@images.command("push")
def push_images(context: typer.Context, names: Names = None, print_only: Print = False, as_json: Json = False) -> None:
    """Push the images to the stack's repositories, and write their digests into Pulumi.<stack>.yaml.

    Builds missing images first. Tags consist of the kit's version and a hash of the image's
    files; a tag that exists is not pushed again. Logs in to the registry for this push only.
    On a twin, the registry runs on this machine. Not yet tried on a real cloud.

    llmops images push --stack aws-dev
    llmops images push serving --stack aws-dev
    """
    from llmops_kit.cli.images.stack_images import push_for

    here: Context = context.obj
    references = push_for(here.pulumi, say, names=_names(names))
    if print_only:
        _print(references, as_json)
    else:
        _write(here, references, as_json)


def _names(names: list[Name] | None) -> tuple[str, ...]:
    from llmops_kit.cli.images.stack_images import NAMES

    return tuple(dict.fromkeys(name.value for name in names)) if names else NAMES


def _write(here: Context, references: Mapping[str, str], as_json: bool) -> None:
    from llmops_kit.cli.images.stack_images import setting_of

    file = here.pulumi.file
    for name, reference in references.items():
        file.set_field("images", setting_of(name), reference)
    diff = file.diff()
    file.write()
    if as_json:
        _print(references, as_json)
    else:
        print(diff or f"{file.path.name} already has these images")


def _print(references: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        print_json(dict(references))
    else:
        print("\n".join(references.values()))


@images.command("base")
def base(
    framework: Annotated[
        str, typer.Argument(help="Name in the sagemaker package, such as pytorch, djl-lmi or huggingface.")
    ],
    region: Annotated[str, typer.Option(help="Region. Default: that of the AWS environment.")] = "",
    instance_type: Annotated[
        str, typer.Option(help="Instance type, which selects the CPU or the GPU image.")
    ] = "ml.m5.xlarge",
    framework_version: Annotated[
        str, typer.Option(help="Version of the framework. Default: the newest in the package.")
    ] = "",
    training: Annotated[
        bool,
        typer.Option("--training", help="Print the training image, if training and serving have different ones."),
    ] = False,
) -> None:
    """Print the URI of AWS's image for a framework, for use as BASE of a Dockerfile.

    Requires the extra `sagemaker`.

      BASE=$(llmops images base pytorch --instance-type ml.g5.xlarge)
      docker build --build-arg BASE=$BASE .
    """
    require_packages("aws", "boto3")
    from llmops_kit.cli.platforms.aws.base_images import base_image
    from llmops_kit.cli.platforms.aws.clients import AwsClients

    where = region or AwsClients().region
    print(base_image(framework, where, version=framework_version, instance_type=instance_type, training=training))
