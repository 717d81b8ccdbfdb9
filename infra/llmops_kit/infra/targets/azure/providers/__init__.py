"""Dynamic providers of Azure; llmops_kit.infra.providers has their released names."""
