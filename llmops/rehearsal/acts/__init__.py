"""The steps themselves, in the order in which a model lives."""

from llmops.rehearsal.acts import beginning, ending
from llmops.rehearsal.steps import Step

STEPS: tuple[Step, ...] = (*beginning.STEPS, *ending.STEPS)
