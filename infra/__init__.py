"""Not a package: import llmops_kit, which has a portion below this folder."""

raise ImportError("infra of a checkout is not a package: import llmops_kit")
