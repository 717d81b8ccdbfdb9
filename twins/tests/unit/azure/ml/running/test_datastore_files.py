"""Paths in datastores that would leave their folder."""

from typing import Any

import pytest

from llmops_twins.azure.ml.running.datastore_files import FilesError, Folder

CONTAINER = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a/blobServices/default/containers/c"
)
NO_TWIN: Any = None


@pytest.mark.vulnerability(1)
@pytest.mark.parametrize("path", ["..", "models/..", "a/../../b", "a//b", "a\\b", "a\0b", "C:/a"])
def test_vulnerability_1_a_path_that_can_be_no_folder_is_refused(path: str) -> None:
    with pytest.raises(FilesError, match="is not a path of a folder"):
        Folder(NO_TWIN, CONTAINER, path, "")


def test_a_folder_keeps_its_own_name() -> None:
    assert Folder(NO_TWIN, CONTAINER, "models/chatbot", "").name == "chatbot"
    assert Folder(NO_TWIN, CONTAINER, "", "").name == ""
