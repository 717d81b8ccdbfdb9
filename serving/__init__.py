"""No package: import llmops_kit, whose portion is below."""

raise ImportError("serving of a checkout is not a package: import llmops_kit")
