"""Who may ask: one API key, or a platform that has authenticated the caller already."""

import hmac
from hashlib import sha256

from serving.errors import ApiError
from serving.settings import Settings


class Authentication:
    """Checks the Authorization header."""

    def __init__(self, settings: Settings) -> None:
        self._by_platform = settings.auth == "platform"
        self._expected = sha256(settings.api_key.encode()).digest()

    def check(self, header: str) -> None:
        """Let a request pass.

        Raises:
            ApiError: 401, without saying what was wrong with the key.
        """
        if self._by_platform:
            return
        scheme, _, key = header.partition(" ")
        # Digests have one length, so that the comparison's time tells nothing of the key.
        given = sha256(key.strip().encode(errors="surrogateescape")).digest()
        if not hmac.compare_digest(given, self._expected) or scheme.lower() != "bearer":
            raise ApiError(
                401,
                "send the endpoint's API key as `Authorization: Bearer <key>`",
                code="invalid_api_key",
                kind="authentication_error",
            )
