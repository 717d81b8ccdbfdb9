"""No package: import llmops_kit, whose portion is below."""

raise ImportError("serving of a checkout is no package: import llmops_kit")
