"""What the command line can do with stacks on this machine."""

from llmops.platforms.operations import Lazy, Operations

OPERATIONS = Operations(
    target="local",
    platform=Lazy("llmops.platforms.local.platform:LocalPlatform"),
    preflight=Lazy("llmops.platforms.local.preflight:preflight"),
    always_refresh=True,
    update_wait_s=600,
    keeps_runs=True,
)
