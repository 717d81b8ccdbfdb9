"""Counts the requests and tokens of API keys: in a file that the servers of an endpoint share, or in this process.

The file is an SQLite database, in which each change is one transaction: a killed server loses nothing. Changes are not
flushed to the disk, for which requests would wait. So after a power failure the last seconds may be missing.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

Result = TypeVar("Result")

USAGE_FILE = "LLMOPS_USAGE_FILE"
"""Variable of a server that names the file."""
_MINUTE = 60.0
_LEAST_WAIT = 0.001  # less is rounding
_BUSY_SECONDS = 1.0
"""How long a request waits for another server's transaction. That takes microseconds, unless its server hangs or the
machine is busy: SQLite's waiters have no queue, and in 0.2 seconds tried some ten times."""
_OPENING_SECONDS = 0.01  # between two attempts to open
_RETRY_SECONDS = 5.0
_TABLE = """\
CREATE TABLE IF NOT EXISTS usage (
    name TEXT PRIMARY KEY,
    day TEXT NOT NULL DEFAULT '', tokens INTEGER NOT NULL DEFAULT 0,
    until REAL NOT NULL DEFAULT 0
) WITHOUT ROWID"""
_TOKENS = "SELECT tokens FROM usage WHERE name = ? AND day = ?"
_ADD = """\
INSERT INTO usage (name, day, tokens) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE
SET tokens = excluded.tokens + CASE WHEN day = excluded.day THEN tokens ELSE 0 END, day = excluded.day"""
_UNTIL = "SELECT until FROM usage WHERE name = ?"
_SET_UNTIL = "INSERT INTO usage (name, until) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET until = excluded.until"


class KeyUsage:
    """Usage by the names of keys. While the file can't be used, this process counts for itself, and adds its tokens to
    the file later.
    """

    def __init__(self, path: Path | None, say: Callable[[str], None]) -> None:
        """Opens nothing yet.

        Args:
            path: the file; None: this process counts for itself.
            say: called with one line when the file can't be used, and again when it can.
        """
        self._path = path
        self._say = say
        self._file: sqlite3.Connection | None = None
        self._retry = 0.0
        self._failed = False
        self._unsaved: dict[tuple[str, str], int] = {}
        self._until: dict[str, float] = {}

    def tokens(self, name: str, day: str) -> int:
        """Returns the tokens that a key has used on a day."""
        row = self._in_file(lambda file: file.execute(_TOKENS, (name, day)).fetchone())
        return (row[0] if row else 0) + self._unsaved.get((name, day), 0)

    def add(self, name: str, day: str, tokens: int) -> None:
        """Adds tokens to those of a day, which replaces the day before."""
        self._unsaved = {key: count for key, count in self._unsaved.items() if key[1] == day}
        self._unsaved[name, day] = self._unsaved.get((name, day), 0) + tokens
        rows = [(*key, count) for key, count in self._unsaved.items()]
        if self._in_file(lambda file: _changed(file, lambda: file.executemany(_ADD, rows))):
            self._unsaved = {}

    def take(self, name: str, rate: int, now: float) -> float:
        """Counts a request, of which `rate` a minute are allowed, all at once or spread; returns 0, or the seconds
        after which one would be allowed.
        """

        def take_in(file: sqlite3.Connection) -> float:
            row = file.execute(_UNTIL, (name,)).fetchone()
            until, wait = _next(row[0] if row else 0.0, rate, now)
            if not wait:
                file.execute(_SET_UNTIL, (name, until))
            return wait

        found = self._in_file(lambda file: _changed(file, lambda: take_in(file)))
        if found is not None:
            return found
        until, wait = _next(self._until.get(name, 0.0), rate, now)
        if not wait:
            self._until[name] = until
        return wait

    def _in_file(self, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        """Returns what `work` does in the file; None if there is no file, or it can't be used."""
        if not self._path or time.monotonic() < self._retry:
            return None
        try:
            self._file = self._file or _opened(self._path)
            found = work(self._file)
        except sqlite3.Error as e:
            self._close()
            self._retry = time.monotonic() + _RETRY_SECONDS
            if not self._failed:
                self._say(f"{self._path}: {e}; until it can be used, this server counts the use of keys for itself")
            self._failed = True
            return None
        if self._failed:
            self._say(f"{self._path}: can be used again")
        self._failed = False
        return found

    def _close(self) -> None:
        if self._file:
            with suppress(sqlite3.Error):
                self._file.close()
        self._file = None


def tokens_of_day(path: Path, day: str) -> dict[str, int]:
    """Returns name of a key -> tokens that it has used on a day, without changing the file; empty if there is none.

    Raises:
        sqlite3.Error: the file can't be read.
    """
    if not path.exists():
        return {}
    file = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
    try:
        return dict(file.execute("SELECT name, tokens FROM usage WHERE day = ?", (day,)).fetchall())
    finally:
        file.close()


def _opened(path: Path) -> sqlite3.Connection:
    """Returns the file, opened for this process, within the time that a request waits.

    SQLite itself waits for no lock while another process changes the journal's mode or creates the table: servers that
    begin at once meet there.
    """
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return _connection(path)
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_OPENING_SECONDS)


def _connection(path: Path) -> sqlite3.Connection:
    file = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # No table of the file may call functions by itself: other programs can write it.
        for statement in ("trusted_schema = OFF", "journal_mode = WAL", "synchronous = OFF"):
            file.execute(f"PRAGMA {statement}")
        file.execute(_TABLE)
    except sqlite3.Error:
        file.close()
        raise
    return file


def _changed(file: sqlite3.Connection, change: Callable[[], Result]) -> Result:
    """Returns what `change` does, in one transaction."""
    file.execute("BEGIN IMMEDIATE")
    try:
        found = change()
        file.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            file.execute("ROLLBACK")
        raise
    return found


def _next(until: float, rate: int, now: float) -> tuple[float, float]:
    """Returns the time over which the requests so far and one more are spread, and the seconds until one more is
    allowed.

    It is within a minute from now, unless the clock was set back: then a new minute begins.
    """
    if until > now + _MINUTE + _LEAST_WAIT:
        until = now
    until = max(now, until) + _MINUTE / rate
    wait = until - now - _MINUTE
    return until, wait if wait > _LEAST_WAIT else 0.0
