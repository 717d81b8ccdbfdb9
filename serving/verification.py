"""The check of the model version before anything of it is loaded, on a thread beside the imports."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from serving.settings import Settings

if TYPE_CHECKING:
    from contract.model import ModelManifest


class Verification:
    """Signature, identity and every file's hash; started when made."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="verify")
        self.result: Future[ModelManifest] = self._pool.submit(self._verify)

    def again(self) -> "Future[ModelManifest]":
        """Check once more, before an engine is loaded again."""
        self.result = self._pool.submit(self._verify)
        return self.result

    def _verify(self) -> "ModelManifest":
        from contract.signing import verify

        return verify(self._settings.model, self._settings.public_key, self._settings.identity)
