"""A twin's whole state in its folder: one JSON file that is replaced as a whole soon after each change."""

import json
from typing import Any

from contract.errors import KitError
from twins.azure.twin import Twin
from twins.core.persistence import Keeper as CommonKeeper
from twins.core.persistence import replace_file

STATE_FILE = "state.json"
SCHEMA = "twin-state-azure/1"


class Keeper(CommonKeeper):
    """Writes the state of a twin soon after it changed, and reads it back."""

    files = (STATE_FILE,)

    def __init__(self, twin: Twin) -> None:
        super().__init__(twin)
        self._twin = twin
        self._file = twin.home / STATE_FILE
        self._last = b""

    def load(self) -> bool:
        """Take up the state that the folder holds; False when it holds none.

        Raises:
            KitError: another version of the kit wrote it, or it is damaged.
        """
        if not self._file.exists():
            return False
        content = self._file.read_bytes()
        state = _state(content)
        if state is None:
            raise KitError(
                f"the state is damaged, or another version of the kit wrote it (this one reads {SCHEMA})",
                where=str(self._file),
                fix=f"go back to that version, or drop the state: twins azure reset --home {self._file.parent}",
            )
        self._twin.state.update(state)
        self._last = content
        return True

    def save(self) -> None:
        """Write the state now, unless it is what was written last."""
        with self._twin.lock:
            self._seen()
            content = json.dumps({"schema": SCHEMA, "state": self._twin.state}).encode()
        if content != self._last:
            replace_file(self._file, content)
            self._last = content


def _state(content: bytes) -> dict[str, Any] | None:
    """What a file holds; None: this version can't read it."""
    try:
        kept = json.loads(content)
        return kept["state"] if kept["schema"] == SCHEMA else None
    except (ValueError, KeyError, TypeError):
        return None
