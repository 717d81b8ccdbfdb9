"""No package: import llmops_kit, whose portion is below."""

raise ImportError("infra of a checkout is not a package: import llmops_kit")
