"""Rules that every stack on a cloud keeps: checked by `llmops plan`, and by Pulumi as a policy pack (this folder)."""
