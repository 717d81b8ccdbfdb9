"""The steps themselves, in the order in which a model lives."""

from llmops.rehearsal.acts import beginning, change, ending, life
from llmops.rehearsal.steps import Step

STEPS: tuple[Step, ...] = (*beginning.STEPS, *life.STEPS, *change.STEPS, *ending.STEPS)
