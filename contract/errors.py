"""The kit's one exception tree.

KitError
├── DocumentError       a document that does not validate: file, line, field
├── IntegrityError      a folder that is not what its manifest says
│   └── SignatureError  a manifest that was not signed by the key that the stack trusts
├── SettingError        a Pulumi setting (infra)
├── BusyError           an endpoint that takes no request at the moment
├── HostingError        an endpoint on this machine (hosting)
├── ServingError        a server that can't start (serving)
├── DataError           a line of a dataset (training)
└── RunError            a training run (training, llmops)
"""

from importlib.util import find_spec


class KitError(Exception):
    """A user's mistake or a failed precondition: says what, where, and the way out; shown without a traceback.

    Args:
        what: one sentence, without a final dot.
        where: the place: `file:line: field`, a configuration key, a path, a port.
        fix: what the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  way out: {self.fix}" if self.fix else text

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
                fix=f"pip install 'llmops-kit[{extra}]'; llmops itself needs it not: it runs images, which have it",
            )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a package that a dotted name begins with
        return False


def _rebuild(kind: type[KitError], what: str, where: str, fix: str) -> KitError:
    return kind(what, where=where, fix=fix)


class DocumentError(KitError):
    """A document does not validate, or is newer than this kit."""


class IntegrityError(KitError):
    """A folder is not what its manifest says."""


class SignatureError(IntegrityError):
    """A manifest is unsigned, or not signed by the key that the stack trusts."""


class SettingError(KitError):
    """A Pulumi setting is unknown, malformed or not honoured by the target."""


class BusyError(KitError):
    """An endpoint takes no request at the moment, since it has too many or starts: the same one may pass soon."""


class HostingError(KitError):
    """An endpoint on this machine can't be started, reached or changed."""


class ServingError(KitError):
    """A server can't start: its environment, its key files or its engine."""


class DataError(KitError):
    """A line of a dataset can't be used."""


class RunError(KitError):
    """A training run failed or can't be found."""
