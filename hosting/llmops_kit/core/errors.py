"""The kit's one exception tree.

KitError
├── NotFoundError       nothing has the name that was given
├── RefusedError        a gate, a rejection or a rule refuses
├── DocumentError       a document that does not validate: file, line, field
├── IntegrityError      a folder that differs from its manifest
│   └── SignatureError  a manifest that was not signed by the key that the stack trusts
├── SettingError        a Pulumi setting (infra)
├── UnsupportedError    a verb that the stack's target does not support
├── BusyError           an endpoint that accepts no request at the moment
├── HostingError        an endpoint on this machine (hosting)
├── ServingError        a server that can't start (serving)
├── DataError           a line of a dataset (training)
└── RunError            a training run (training, llmops)
"""

from importlib.util import find_spec
from typing import ClassVar

EXIT_CODES = {
    0: "success",
    1: "failed: the error says what, where and how to fix it",
    2: "usage: the command line, a setting, a document or a row of data is wrong; and of `plan --detailed-exitcode`, "
    "changes",
    3: "refused by the gate, a rejection or a rule",
    4: "not found: a stack, run, version, endpoint or other name",
    5: "integrity: a file, a signature or a job's output is not what was recorded",
    130: "stopped by Ctrl-C",
}
"""Exit code of `llmops` -> its meaning."""


class KitError(Exception):
    """A user's mistake or a failed precondition: says what, where, and the fix; shown without a traceback.

    Args:
        what: one sentence, without a final dot.
        where: the place: `file:line: field`, a configuration key, a path, a port.
        fix: what the user can do about it.
    """

    exit_code: ClassVar[int] = 1
    """Of the command that it ends, one of EXIT_CODES."""

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  fix: {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only fields are lost by Exception's own pickling, which crosses to provider processes.
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def require_packages(extra: str, *names: str) -> None:
    """Check early, without importing them, that an extra of the kit is installed.

    Raises:
        KitError: naming the first package that is missing, and the extra that brings it.
    """
    for name in names:
        if not _is_installed(name):
            raise KitError(
                f"the package {name} is not installed",
                where=f"extra {extra}",
                fix=f"pip install 'llmops-kit[{extra}]'",
            )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package of a dotted name is missing
        return False


def _rebuild(kind: type[KitError], what: str, where: str, fix: str) -> KitError:
    return kind(what, where=where, fix=fix)


class NotFoundError(KitError):
    """Nothing has the name that was given."""

    exit_code = 4


class RefusedError(KitError):
    """A gate, a rejection or a rule refuses what was asked for."""

    exit_code = 3


class DocumentError(KitError):
    """A document does not validate, or is newer than this kit."""

    exit_code = 2


class IntegrityError(KitError):
    """A folder differs from its manifest."""

    exit_code = 5


class SignatureError(IntegrityError):
    """A manifest is unsigned, or not signed by the key that the stack trusts."""


class SettingError(KitError):
    """A Pulumi setting is unknown, malformed or not honoured by the target."""

    exit_code = 2


class UnsupportedError(KitError):
    """The target of a stack does not support a verb."""


class BusyError(KitError):
    """An endpoint accepts no request at the moment, because it is starting or has too many: retry the same one."""


class HostingError(KitError):
    """An endpoint on this machine can't be started, reached or changed."""


class ServingError(KitError):
    """A server can't start: its environment, its key files or its engine."""


class DataError(KitError):
    """A line of a dataset can't be used."""

    exit_code = 2


class RunError(KitError):
    """A training run failed or can't be found."""
