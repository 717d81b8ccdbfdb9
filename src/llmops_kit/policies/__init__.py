"""Rules for every stack on a cloud: checked by `llmops plan`, and by Pulumi as a policy pack (this folder)."""
