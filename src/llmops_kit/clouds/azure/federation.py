"""Credentials of a GitHub workflow, whose identity token is exchanged for Azure's tokens: a new one at each exchange.

GitHub's tokens are valid for five minutes, and Azure's for about an hour, so the token that `azure/login` got can't
renew them (https://github.com/Azure/login/issues/372). The variables are those of Pulumi's plugin:
https://www.pulumi.com/registry/packages/azure-native/installation-configuration/

Importing this module loads no SDK.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import is_loopback

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_AUDIENCE = "api://AzureADTokenExchange"
_FILE = "ARM_OIDC_TOKEN_FILE_PATH"
_URLS = ("ARM_OIDC_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_URL")
_TOKENS = ("ARM_OIDC_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_SECONDS = 30
_MOST_BYTES = 64 * 1024
_GRANT = "give the job `permissions: id-token: write`; without a workflow, unset ARM_USE_OIDC and `az login`"


def uses_oidc(environ: Mapping[str, str]) -> bool:
    """Returns whether the environment asks for the exchange of identity tokens."""
    return environ.get("ARM_USE_OIDC") == "true"


def federated_credential(environ: Mapping[str, str], twin: str) -> "TokenCredential | None":
    """Returns the credential of the environment's identity token; None if the environment does not ask for it.

    Args:
        environ: of this process.
        twin: its address; empty on Azure.

    Raises:
        KitError: tenant or client are missing, or the source of tokens.
    """
    if not uses_oidc(environ):
        return None
    from azure.identity import ClientAssertionCredential

    for name in ("ARM_TENANT_ID", "ARM_CLIENT_ID"):
        if not environ.get(name):
            raise KitError("ARM_USE_OIDC is true, and the identity is incomplete", where=f"${name}", fix="set it")
    if not environ.get(_FILE) and not (_first(environ, _URLS) and _first(environ, _TOKENS)):
        raise KitError("ARM_USE_OIDC is true, but there is no identity token", where=f"${_URLS[1]}", fix=_GRANT)
    return ClientAssertionCredential(
        environ["ARM_TENANT_ID"],
        environ["ARM_CLIENT_ID"],
        partial(identity_token, dict(environ)),
        # A twin's authority is not a host of Microsoft's, whose instance discovery would reject it.
        disable_instance_discovery=bool(twin),
    )


def identity_token(environ: Mapping[str, str]) -> str:
    """Returns the identity token that is valid now: that of the file, else a new one from GitHub.

    Raises:
        KitError: there is none.
    """
    if path := environ.get(_FILE):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as e:
            raise KitError(f"the identity token can't be read: {e.strerror}", where=path, fix=f"see ${_FILE}") from e
    url = _first(environ, _URLS)
    if not url.startswith("https://") and not is_loopback(url):
        raise KitError("identity tokens are requested by https only", where=url, fix=_GRANT)
    address = f"{url}{'&' if '?' in url else '?'}{urlencode({'audience': _AUDIENCE})}"
    request = Request(address, headers={"Authorization": f"Bearer {_first(environ, _TOKENS)}"})
    try:
        with urlopen(request, timeout=_SECONDS) as answer:
            return str(json.loads(answer.read(_MOST_BYTES))["value"])
    except HTTPError as e:
        raise KitError(f"GitHub issues no identity token: status {e.code}", where=url, fix=_GRANT) from e
    except (OSError, ValueError, KeyError) as e:
        raise KitError(f"GitHub's answer holds no identity token: {type(e).__name__}", where=url, fix=_GRANT) from e


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")
