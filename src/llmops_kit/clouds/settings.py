"""Parsing of a cloud's own settings in a stack file."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from llmops_kit.contract.documents.document import Part
from llmops_kit.contract.documents.validation import message_of
from llmops_kit.contract.errors import SettingError

T = TypeVar("T", bound=Part)


def parse_cloud_settings(model: type[T], key: str, config: Mapping[str, Any], where: str) -> T:
    """Parse one cloud's key of a stack file's config.

    Args:
        model: the cloud's settings.
        key: `aws` or `azure`.
        config: of the stack file, without the project's name before each key.
        where: path of the stack file.

    Returns:
        The settings; defaults if the key is missing.

    Raises:
        SettingError: names the first wrong key.
    """
    try:
        return model.model_validate(config.get(key) or {})
    except ValidationError as e:
        first = e.errors()[0]
        path = ".".join(str(part) for part in (key, *first["loc"]))
        raise SettingError(message_of(first), where=f"{where}: {path}", fix="change it in the stack file") from None
