"""Images for a stack: built as processes for a twin; for a cloud, the commands that push them."""

import os

from contract.errors import KitError
from contract.twin import twin_address
from llmops.platforms.base import Say
from llmops.stacks import PulumiStack

NAMES = ("training", "serving")


def build_for(stack: PulumiStack, say: Say) -> dict[str, str]:
    """Build the training and serving images of this checkout.

    Returns:
        training and serving -> reference by digest.

    Raises:
        KitError: the stack is on a cloud, where this version pushes nothing (with the commands that do); or local.
    """
    if stack.target == "local":
        raise KitError(
            "a stack of target local has no `images`: it builds them itself",
            where=str(stack.file.path),
            fix="`llmops up`",
        )
    if not twin_address(os.environ):
        raise KitError(
            "this version pushes no images to a registry",
            where=f"stack {stack.name}",
            fix=_by_hand(stack),
        )
    from hosting import images

    return {name: images.build(name, say) for name in NAMES}


def _by_hand(stack: PulumiStack) -> str:
    """Docker's commands, for the repositories of the stack where it has them."""
    aws = stack.outputs().aws if stack.exists() else None
    repositories = aws.repositories if aws else {}
    region = aws.region if aws else "REGION"
    serving = repositories.get("serving", "ACCOUNT.dkr.ecr.REGION.amazonaws.com/SERVING")
    registry = serving.partition("/")[0]
    lines = [f"aws ecr get-login-password --region {region} | docker login --username AWS --password-stdin {registry}"]
    # SageMaker refuses OCI manifests and attestations, which buildx makes by default.
    lines.append(
        "docker buildx build -f serving/Dockerfile --platform linux/amd64 --provenance=false "
        f"--output type=image,oci-mediatypes=false,push=true,name={serving}:$(git rev-parse --short HEAD) ."
    )
    lines.append("then write its digest into the stack file: `llmops:images: {serving: REPOSITORY@sha256:…}`")
    lines.append("(the training image is pushed when this kit trains on AWS: not in this version)")
    return "\n    ".join(["push them by hand:", *lines])
