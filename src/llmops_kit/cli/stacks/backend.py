"""Pulumi's backend: the one that the environment names, or a folder in the checkout."""

import os
from pathlib import Path
from urllib.parse import unquote

STATE = ".llmops/state"
TWIN_FILE = "twin.json"  # in the home of a twin, whose stacks keep their state beside it
BACKEND_VARIABLE = "PULUMI_BACKEND_URL"
_PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"


def base_environ(project: Path, local: bool) -> dict[str, str]:
    """Returns this process's environment; for local stacks, with a backend in the checkout if none is set."""
    environ = dict(os.environ, PULUMI_SKIP_UPDATE_CHECK="1")
    if local and has_own_state():
        state = project / STATE
        state.mkdir(parents=True, exist_ok=True)
        use_folder(environ, state)
    return environ


def has_own_state() -> bool:
    """Returns whether local stacks keep their state in the checkout: no backend is set, or a twin's."""
    chosen = os.environ.get(BACKEND_VARIABLE) or os.environ.get("PULUMI_ACCESS_TOKEN")
    return not chosen or is_twin_state(os.environ.get(BACKEND_VARIABLE, ""))


def use_folder(environ: dict[str, str], state: Path) -> None:
    """Sets the variables that keep the state in a folder, with an empty passphrase if none is set."""
    environ[BACKEND_VARIABLE] = folder_url(state)
    if not environ.get(f"{_PASSPHRASE}_FILE"):
        environ.setdefault(_PASSPHRASE, "")


def is_twin_state(url: str) -> bool:
    """Returns whether a backend is in a twin's home, where only stacks on the twin have their state."""
    return url.startswith("file://") and (folder_of(url).parent / TWIN_FILE).is_file()


def folder_url(folder: Path) -> str:
    """Returns the URL of Pulumi's backend that keeps states as files in a folder.

    Without `metadata=skip` the engine writes `<stack>.json.attrs` beside each state, in place: an update that is killed
    within that write leaves it empty, and every later command ends with "failed to load checkpoint: EOF"
    (https://pkg.go.dev/gocloud.dev/blob/fileblob).
    """
    return f"{folder.as_uri()}?metadata=skip"


def folder_of(url: str) -> Path:
    """Returns the folder of a `file://` backend."""
    return Path(unquote(url.removeprefix("file://").partition("?")[0])).expanduser()
