"""A target that can be deployed and nothing else: its two rooms in one file, and its record."""

from pathlib import Path

import pulumi

from llmops_kit.cli.interfaces.operations import Lazy, Operations
from llmops_kit.cli.interfaces.platform import Platform, Say
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.targets import TargetRecord
from llmops_kit.core.documents.outputs import StackOutputs
from llmops_kit.infra.targets.outputs import OutputFields, TrainingImages, stack_outputs
from llmops_kit.settings.stack_settings import Settings

RECORD = TargetRecord(
    "null", "tests.support.clouds.null_target:NullTarget", "tests.support.clouds.null_target:OPERATIONS", is_cloud=False
)


class NullTarget:
    """See llmops_kit.infra.targets.target.Target."""

    def resolve(self, settings: Settings) -> Settings:
        return settings

    def declare(self, resolved: Settings) -> OutputFields:
        pulumi.ComponentResource("llmops:Null", "store")
        return stack_outputs(
            resolved.target,
            pulumi.get_stack(),
            str(Path.cwd()),
            store="null:///store",
            private_key="null:///key",
            public_key="-----BEGIN PUBLIC KEY-----\n",
            training=TrainingImages(""),
            runs="null:///runs",
            endpoints={},
        )


class NullPlatform(Platform):
    """A Platform whose verbs do nothing."""

    def __init__(self, outputs: StackOutputs) -> None:
        self.outputs = outputs


def preflight(stack: PulumiStack, say: Say, *, dev: bool, make: bool) -> None:
    """Nothing is missing."""


OPERATIONS = Operations(
    target="null",
    platform=Lazy("tests.support.clouds.null_target:NullPlatform"),
    preflight=Lazy("tests.support.clouds.null_target:preflight"),
)
