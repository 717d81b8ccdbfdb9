"""Authentication: one API key, or a platform that has already authenticated the caller."""

from contract.api_key import is_authorized, key_digest
from serving.errors import ApiError
from serving.settings import ServerSettings


class Authentication:
    """Checks the Authorization header."""

    def __init__(self, settings: ServerSettings) -> None:
        self._by_platform = settings.auth == "platform"
        self._expected = key_digest(settings.api_key)

    def check(self, header: str) -> None:
        """Let a request pass.

        Raises:
            ApiError: 401, without saying what was wrong with the key.
        """
        if not self._by_platform and not is_authorized(header, [self._expected]):
            raise ApiError(
                401,
                "send the endpoint's API key as `Authorization: Bearer <key>`",
                code="invalid_api_key",
                kind="authentication_error",
            )
