"""Settings as a stack's file would have them."""

from pathlib import Path

from llmops_kit.settings.reading import SettingsOrigin
from llmops_kit.settings.resolved import ResolvedStack, resolve_stack
from llmops_kit.settings.stack_settings import Settings


def resolved(settings: Settings, project: str = "llmops", stack: str = "dev") -> ResolvedStack:
    """Returns what the settings of a stack come to; its file is missing."""
    return resolve_stack(settings, SettingsOrigin(project, Path(f"missing/Pulumi.{stack}.yaml")), stack)
