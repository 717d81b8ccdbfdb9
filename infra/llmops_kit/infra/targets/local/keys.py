"""Files of keys that a local endpoint's `limits` name, checked before anything is declared."""

from pathlib import Path

from llmops_kit.core.errors import DocumentError
from llmops_kit.core.key_file import KEY_FILE_EXAMPLE, read_key_file
from llmops_kit.core.limits import API_KEYS_FILE, METRICS_KEY_FILE
from llmops_kit.core.network.api_key import SHORTEST_KEY, is_usable_key
from llmops_kit.infra.settings import setting_error
from llmops_kit.settings.stack_settings import ServerLimits


def key_files(project: Path, name: str, limits: ServerLimits) -> dict[str, str]:
    """Returns variable of the server -> absolute path, for the files that an endpoint's limits name.

    Args:
        project: the folder of Pulumi.yaml, to which the settings are relative.
        name: of the endpoint.
        limits: the endpoint's.

    Raises:
        SettingError: a file can't be used, or lies in a folder that a server must not see.
    """
    found: dict[str, str] = {}
    for variable, field in ((API_KEYS_FILE, "api_keys_file"), (METRICS_KEY_FILE, "metrics_key_file")):
        if given := getattr(limits, field):
            found[variable] = str(_checked(project, ("endpoints", name, "limits", field), given))
    return found


def _checked(project: Path, key: tuple[str, ...], given: str) -> Path:
    path = (project / given).absolute()
    if project.resolve().is_relative_to(path.parent.resolve()):
        what = f"{path.parent} is mounted for the server as a whole, and holds the project"
        raise setting_error(key, what, "move the file to its own folder, such as keys/")
    if key[-1] == "api_keys_file":
        try:
            read_key_file(path)
        except DocumentError as e:
            raise setting_error(key, f"{path} {e.what}", e.fix or f"write {KEY_FILE_EXAMPLE}") from None
    elif not path.is_file() or not is_usable_key(path.read_text(errors="replace").strip()):
        fix = f"write one line into it, a key of {SHORTEST_KEY} characters or more"
        raise setting_error(key, f"{path} holds no usable key", fix)
    return path
