"""Control of the Azure twin in a rehearsal."""

from pathlib import Path
from typing import Any, ClassVar

from llmops_kit.cli.rehearsal.cloud import Twin
from llmops_kit.core.twins import KEY_VARIABLES, azure_twin_address

LOCATION = "westeurope"
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_AUTHORITY = "ca.pem"
"""File with the twin's authority only, in the folder of the file of all authorities that its `env` names."""
_SECRETS = ("AZURE_CLIENT_SECRET", "ARM_CLIENT_SECRET")


class AzureTwin(Twin):
    """See llmops_kit.cli.rehearsal.cloud.Twin. Roles are principals with role assignments; identities are
    resource ids of user-assigned managed identities.
    """

    target = "azure"
    place: ClassVar = {"location": LOCATION}

    def environment(self) -> dict[str, str]:
        """Returns the environment, in which programs trust only the twin's authority: they reach nothing else, and each
        connection reads all authorities, which takes longer than most requests with those of a machine.
        """
        environ = super().environment()
        return environ | dict.fromkeys(_TRUST, str(Path(environ[_TRUST[0]]).with_name(_AUTHORITY)))

    def url(self) -> str:
        """Returns the URL of Azure Resource Manager."""
        return azure_twin_address(self.environment())

    def take(self, identity: str) -> dict[str, str | None]:
        """Returns the variables of an identity. The plugin logs in as GitHub's workflows do, by a token that the
        identity trusts, which the twin issues instead of GitHub. The engine's own backend would then ask Microsoft
        about the twin, so it gets the identity's tokens as a program on Azure does, and so do the kit's clients.
        """
        client = next(p["app_id"] for p in self.ask("principals") if p["object_id"] == self.name_of(identity))
        token = self.home / f"{client}.token"
        token.touch(0o600)
        token.write_text(self.web_identity(identity, "api://AzureADTokenExchange"))
        return {
            **dict.fromkeys((*_SECRETS, KEY_VARIABLES["azure"])),
            **self.ask("headers", "POST", {"object_id": self.name_of(identity)}),
            "AZURE_CLIENT_ID": client,
            "ARM_CLIENT_ID": client,
            "ARM_USE_OIDC": "true",
            "ARM_OIDC_TOKEN_FILE_PATH": str(token),
        }

    def name_of(self, identity: str) -> str:
        """Returns the object id of the principal."""
        known = self.ask("principals")
        return next(
            p["object_id"] for p in known if identity.lower() in (p.get("resource", "").lower(), p["object_id"])
        )

    def deny(self, name: str, action: str) -> None:
        """Denies an action, which is possible only on a twin."""
        self.ask("denials", "PUT", {"principal": name, "action": action})

    def give_back(self, name: str, action: str) -> None:
        self.ask("denials", "DELETE", {"principal": name, "action": action})

    def policies(self, name: str) -> list[dict[str, Any]] | None:
        """Returns its role assignments, with the permissions of each role."""
        grants = self.ask("grants")
        return grants.get(name)

    def bearer(self, principal: str) -> str:
        """Returns the principal: principals are recorded by their object ids."""
        return principal
