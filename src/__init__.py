"""No package: import llmops_kit, whose portion is below."""

raise ImportError("src of a checkout is not a package: import llmops_kit")
