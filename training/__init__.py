"""No package: import llmops_kit, whose portion is below."""

raise ImportError("training of a checkout is not a package: import llmops_kit")
