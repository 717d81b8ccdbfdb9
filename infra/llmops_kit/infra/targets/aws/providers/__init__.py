"""Dynamic providers of AWS; llmops_kit.infra.providers has their released names."""
