"""Checks of `llmops doctor` for Azure. Imports no SDK, so that it can report a missing one."""

from llmops_kit.settings.stack_settings import Settings

PACKAGES = ("azure.identity", "pulumi_azure_native")
TWIN_PACKAGE = "trustme"
TWIN_WORDS = "blobs kept by {node}"
NODE_IS_FOR = "there is nothing that keeps blobs"
PLUGIN = "azure-native"
VARIABLES = ("AZURE_", "ARM_")


def caller(settings: Settings | None) -> str:
    """Returns a description of this shell's identity on Azure.

    Args:
        settings: of a stack on Azure; None: there is none.

    Raises:
        KitError: this shell has no credentials.
    """
    from llmops_kit.clouds.azure.session import AzureSession

    session = AzureSession((settings or Settings()).azure.subscription)
    place = f"the twin at {session.twin}" if session.twin else f"subscription {session.subscription}"
    return f"{place}, tenant {session.caller.tenant}, as {session.caller.object_id}"
