"""Not a package: import llmops_kit, which has a portion below this folder."""

raise ImportError("training of a checkout is not a package: import llmops_kit")
