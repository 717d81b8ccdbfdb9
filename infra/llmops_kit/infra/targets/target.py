"""Interface of a target to the program."""

from typing import Protocol, TypeVar

from llmops_kit.infra.targets.outputs import OutputFields
from llmops_kit.settings.stack_settings import Settings

Resolved = TypeVar("Resolved")


class Target(Protocol[Resolved]):
    """Turns settings into resources, in two steps. The only code that imports a cloud's Pulumi SDK."""

    def resolve(self, settings: Settings) -> Resolved:
        """Check the settings, and make all look-ups. Declares nothing.

        Returns:
            Plain values: everything that `declare` needs.

        Raises:
            SettingError: a setting that this target can't honour, by its key.
        """
        ...

    def declare(self, resolved: Resolved) -> OutputFields:
        """Declare the resources, without look-ups.

        Returns:
            The stack's outputs: fields of StackOutputs.
        """
        ...
