"""The base of target aws's dynamic resources."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.clouds.aws.location import AwsLocation
from llmops_kit.infra.targets.dynamic import KitProvider


class AwsLocatedResource(dynamic.Resource):
    """A dynamic resource that keeps the location of its stack beside its inputs."""

    def __init__(
        self,
        provider: KitProvider,
        name: str,
        location: AwsLocation,
        opts: pulumi.ResourceOptions,
        inputs: Mapping[str, Any] | None = None,
    ) -> None:
        props = {**location._asdict(), **(inputs or {})}
        super().__init__(provider, name, props, opts)
