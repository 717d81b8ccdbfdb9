"""The registry of the kit's images, and where a stack's images come from."""

from typing import Any

import pulumi
from pulumi_azure_native import containerregistry

from infra import names
from infra.settings import setting_error
from infra.targets.azure.here import Here, Identity, Registry
from infra.targets.azure.patience import patient
from infra.targets.azure.session import Caller, look_up

NAMES = ("training", "serving")
_KIND = "Microsoft.ContainerRegistry/registries"
_API = "2023-01-01-preview"
_REGISTRY = "azure-native:containerregistry:Registry"
_PROCESS = "process:"
_UNTAGGED_DAYS = 14


def require_image(name: str, reference: str, caller: Caller) -> None:
    """See that the stack has an image, which this place can run.

    Raises:
        SettingError: there is none, or it is a process that stands for one, in a real subscription.
    """
    key = ("images", name)
    if not reference:
        raise setting_error(
            key, "is missing", "`llmops images push` pushes and writes it; on a twin `llmops images build` will do"
        )
    if reference.startswith(_PROCESS) and not caller.twin:
        raise setting_error(
            key,
            f"{reference} runs on a twin alone",
            "`llmops images push` pushes an image of the kit to the stack's registry, and writes its digest here",
        )


def is_the_kits(image: str) -> bool:
    """Whether an image is the serving one that `llmops images` builds and pushes, for processors alone."""
    host, _, name = image.partition("@")[0].partition("/")
    return name == "serving" if name else host == f"{_PROCESS}serving"


def provide_registry(here: Here, identity: Identity | None) -> Registry:
    """Declare the registry, unless one is given. Its repositories are made by what is pushed.

    Args:
        here: the stack's place.
        identity: reads the key that encrypts the registry, when one is given.
    """
    if given := here.settings.azure.registry:
        found = look_up(here.place, given, _API, "registry")["properties"]
        return Registry(given, found["loginServer"], [], given)
    logical, name = names.kept("registry"), here.names.compact("registry", 50, here.caller.subscription)
    id_ = here.id(_KIND, name)
    made = containerregistry.Registry(
        logical,
        registry_name=name,
        resource_group_name=here.group,
        location=here.location,
        sku=containerregistry.SkuArgs(name="Premium" if _is_premium(here) else "Basic"),
        admin_user_enabled=False,
        anonymous_pull_enabled=False,
        **_premium(here, identity),
        tags=here.all_tags,
        opts=here.adopted(
            _REGISTRY,
            logical,
            id_,
            _API,
            protect=True,
            depends_on=identity.ready if identity else [],
            hooks=patient(here, _REGISTRY, logical, identity) if identity else None,
        ),
    )
    return Registry(made.id, made.login_server, [made], id_)


def repositories(registry: Registry) -> dict[str, pulumi.Output[str]]:
    """Image -> its repository, with the login server."""
    return {name: pulumi.Output.concat(registry.login_server, "/", name) for name in NAMES}


def _is_premium(here: Here) -> bool:
    """Private endpoints and keys of one's own are Premium's alone.

    https://learn.microsoft.com/azure/container-registry/container-registry-skus
    """
    given = here.settings.azure
    return given.network.mode != "none" or bool(given.encryption.key)


def _premium(here: Here, identity: Identity | None) -> dict[str, Any]:
    if not _is_premium(here):
        return {}
    found: dict[str, Any] = {
        "policies": containerregistry.PoliciesArgs(
            retention_policy=containerregistry.RetentionPolicyArgs(days=_UNTAGGED_DAYS, status="enabled")
        )
    }
    if here.settings.azure.network.mode == "existing":
        found["public_network_access"] = "Disabled"
    if identity:
        found["identity"] = containerregistry.IdentityPropertiesArgs(
            type=containerregistry.ResourceIdentityType.USER_ASSIGNED,
            user_assigned_identities=pulumi.Output.from_input(identity.id).apply(
                lambda id_: {id_: containerregistry.UserIdentityPropertiesArgs()}
            ),
        )
        found["encryption"] = containerregistry.EncryptionPropertyArgs(
            status="enabled",
            key_vault_properties=containerregistry.KeyVaultPropertiesArgs(
                identity=identity.client_id, key_identifier=here.settings.azure.encryption.key
            ),
        )
    return found
