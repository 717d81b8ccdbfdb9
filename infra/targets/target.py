"""What the program asks of a target."""

from typing import Any, Protocol

from infra.settings import Settings

# The fields of contract.documents.outputs.StackOutputs; leaves may be Outputs.
OutputFields = dict[str, Any]


class Target(Protocol):
    """Turns settings into resources. The only code that imports a cloud's Pulumi SDK."""

    def provision(self, settings: Settings) -> OutputFields:
        """Declare the resources.

        Returns:
            What the stack says of itself: fields of StackOutputs.

        Raises:
            SettingError: a setting that this target can't honour, by its key; nothing was declared then.
        """
        ...
