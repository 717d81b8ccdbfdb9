"""The steps, in the order of a model's lifecycle."""

from llmops_kit.cli.rehearsal.lifecycle import day_two, first_deployment, first_model, teardown
from llmops_kit.cli.rehearsal.steps import RehearsalStep

STEPS: tuple[RehearsalStep, ...] = (*first_deployment.STEPS, *first_model.STEPS, *day_two.STEPS, *teardown.STEPS)
