"""Plain values become typed settings, or an error that names the key, its line and the fix."""

import json
from pathlib import Path

import pytest

from llmops_kit.core.errors import SettingError
from llmops_kit.settings.reading import SettingsOrigin, own_keys, parse_settings
from llmops_kit.settings.stack_settings import Settings

HERE = SettingsOrigin("chat", Path("missing/Pulumi.dev.yaml"))


def test_the_keys_of_a_project_are_read_from_the_engines_flat_form() -> None:
    flat = {"chat:accepted_rules": '{"encrypted": "no data"}', "chat:aws": '{"region": "x"}', "aws:region": "other"}
    settings = parse_settings(own_keys(flat, "chat"), HERE)
    assert settings.accepted_rules == {"encrypted": "no data"}
    assert settings.aws.region == "x"


def test_objects_are_json_or_values() -> None:
    jobs = {"jobs": {"spot": True}}
    assert parse_settings({"aws": json.dumps(jobs)}, HERE) == parse_settings({"aws": jobs}, HERE)


def test_only_the_keys_that_are_asked_for_are_read() -> None:
    values = {"aws": {"regoin": "x"}, "own": "of a program", "target": "aws"}
    assert parse_settings(values, HERE, ["target"]) == Settings(target="aws")
    with pytest.raises(SettingError, match="regoin"):
        parse_settings(values, HERE, ["aws"])
    with pytest.raises(SettingError, match="chat:own: unknown key"):
        parse_settings(values | {"aws": {}}, HERE)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"aws": {"alarms": 3}}, "chat:aws.alarms"),
        ({"azure": {"network": {"mdoe": "x"}}}, "chat:azure.network.mdoe"),
        ({"azure": [1]}, "chat:azure"),
        ({"endpoints": "{not json"}, "chat:endpoints"),
        ({"endpoints": {"chat": {"size": {}}}}, "chat:endpoints.chat.model"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], where: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_settings(values, HERE)
    assert caught.value.where == where


def test_an_error_names_the_line_of_the_stack_file(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("config:\n  chat:aws:\n    region: x\n    alarms: 3\n")
    with pytest.raises(SettingError) as caught:
        parse_settings({"aws": {"alarms": 3}}, SettingsOrigin("chat", file))
    assert caught.value.where == "Pulumi.dev.yaml:4: chat:aws.alarms"
