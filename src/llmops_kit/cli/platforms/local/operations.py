"""Operations of the command line on stacks on this machine."""

from llmops_kit.cli.interfaces.operations import Lazy, Operations

OPERATIONS = Operations(
    target="local",
    platform=Lazy("llmops_kit.cli.platforms.local.platform:LocalPlatform"),
    preflight=Lazy("llmops_kit.cli.platforms.local.preflight:preflight"),
    always_refresh=True,
    keeps_runs=True,
)
