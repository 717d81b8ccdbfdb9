"""Dynamic providers of this machine; llmops_kit.infra.providers has their released names."""
