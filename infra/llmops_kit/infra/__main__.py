"""The Pulumi program: settings -> target -> resolve -> declare -> export. Runs under `pulumi preview|up`.

A project of your own needs Pulumi.yaml, a stack file and a program of two lines:

    from llmops_kit.infra.__main__ import main
    main()
"""

import pulumi

from llmops_kit.core.errors import KitError
from llmops_kit.infra.settings import read_settings
from llmops_kit.infra.targets.registry import find_target


def main() -> None:
    """Declare the stack's resources and export its outputs: the fields of
    llmops_kit.core.documents.outputs.StackOutputs.

    Raises:
        pulumi.RunError: a user's mistake; Pulumi prints it without a traceback.
    """
    try:
        settings = read_settings()
        target = find_target(settings.target)
        for name, value in target.declare(target.resolve(settings)).items():
            pulumi.export(name, value)
    except KitError as e:
        raise pulumi.RunError(str(e)) from None


if __name__ == "__main__":
    main()
