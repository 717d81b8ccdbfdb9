"""A version that the image can't run is refused by its name."""

from pathlib import Path

import pytest

from contract.errors import KitError, ServingError
from serving.__main__ import require_engine
from serving.settings import ServerSettings


def test_a_version_without_openvinos_form_is_refused_with_the_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(model=tmp_path, public_key="", name="chatbot")
    monkeypatch.setattr("contract.errors.find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(ServingError, match=r"chatbot has no OpenVINO form(?s:.*)`llmops models convert NAME@N`"):
        require_engine(settings)
    asked = ServerSettings(model=tmp_path, public_key="", name="chatbot", engine="transformers")
    with pytest.raises(KitError, match="torch is not installed"):
        require_engine(asked)
    (tmp_path / "openvino").mkdir()
    require_engine(settings)
