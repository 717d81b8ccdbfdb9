"""Saves a twin's state in its folder: one JSON file, replaced as a whole soon after each change.

The file includes the SHA-256 of the state, so that a modified or truncated file is refused.
"""

import hashlib
import json
import marshal

from contract.errors import KitError
from twins.azure.twin import TenantTwin
from twins.core.persistence import Keeper, replace_file

STATE_FILE = "state.json"
SCHEMA = "twin-state-azure/2"


class StateKeeper(Keeper):
    """Saves the state of a twin soon after each change, and loads it."""

    files = (STATE_FILE,)

    def __init__(self, twin: TenantTwin) -> None:
        super().__init__(twin)
        self._twin = twin
        self._file = twin.home / STATE_FILE
        self._last = ""

    def load(self) -> bool:
        """Loads the state from the folder; False if there is none.

        Raises:
            KitError: another version of the kit wrote it, or it is damaged.
        """
        if not self._file.exists():
            return False
        try:
            kept = json.loads(self._file.read_bytes())
            state, digest = kept["state"], kept["sha256"]
            fits = kept["schema"] == SCHEMA and digest == _sha256(json.dumps(state))
        except (ValueError, KeyError, TypeError):
            state, digest, fits = {}, "", False
        if not fits:
            raise KitError(
                f"the state is damaged, or another version of the kit wrote it (this one reads {SCHEMA})",
                where=str(self._file),
                fix=f"go back to that version, or drop the state: twins azure reset --home {self._file.parent}",
            )
        self._twin.state.update(state)
        self._last = digest
        return True

    def save(self) -> None:
        """Saves the state now, unless it is unchanged since the last save."""
        with self._twin.lock:  # for a copy alone, and marshal makes the quickest
            self._seen()
            copy = marshal.dumps(self._twin.state)
        state = json.dumps(marshal.loads(copy))
        digest = _sha256(state)
        if digest != self._last:
            replace_file(self._file, f'{{"schema": "{SCHEMA}", "sha256": "{digest}", "state": {state}}}'.encode())
            self._last = digest


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
