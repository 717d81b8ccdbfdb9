from pathlib import Path

import pytest

from llmops_kit.cli.stacks.stack_file import StackFile
from llmops_kit.core.errors import KitError, SettingError

NEW = f"chatbot@2@sha256:{'b' * 64}"

# {} is where the value stands.
REPLACED = {
    "comments, blanks and order": """\
# top
config:
  llmops:target:   local   # where

  llmops:endpoints:
    chatbot:
      model: {}   # the line
      endpoint: on

    # next
    other: {{model: 'o@1'}}
encryptionsalt: v1:x=
""",
    "single quotes": "config:\n  llmops:endpoints:\n    chatbot:\n      model: '{}'\n",
    "double quotes": 'config:\n    "llmops:endpoints":\n        chatbot:\n            model: "{}" # why\n',
    "between braces": "config:\n  llmops:endpoints: {{chatbot: {{model: {}, size: {{instances: 2}}}}}}\n",
    "windows line ends": "config:\r\n  llmops:endpoints:\r\n    chatbot:\r\n      model: {}\r\n      port: 1\r\n",
    "no final newline": "config:\n  llmops:endpoints:\n    chatbot:\n      model: {}",
    "the same value elsewhere": """\
# {0}
config:
  llmops:endpoints:
    copy:
      model: chatbot@1
    chatbot:
      model: {0}
""",
}


@pytest.mark.parametrize("template", REPLACED.values(), ids=REPLACED.keys())
def test_replaces_a_value_and_keeps_every_other_byte(tmp_path: Path, template: str) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_bytes(template.format("chatbot@1").encode())
    file = StackFile(path)

    file.set("chatbot", "model", NEW)
    file.write()

    wanted = template.format("chatbot@1").rsplit("chatbot@1", 1)
    assert path.read_bytes().decode() == NEW.join(wanted)
    changed = [line for line in file.diff().splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert changed == []  # written: nothing is left to write


# What the file holds, the lines that come in, and behind which line.
ADDED = {
    "no endpoints yet": (
        "config:\n  llmops:target: local # x\n# end\n",
        ["  llmops:endpoints:", "    chatbot:", "      model: M"],
        2,
    ),
    "empty braces": ("config:\n  llmops:endpoints: {}\n  llmops:target: local\n", None, 0),
    "nothing behind the key": (
        "config:\n  llmops:endpoints: # none\n  llmops:target: local\n",
        ["    chatbot:", "      model: M"],
        2,
    ),
    "another endpoint": (
        "config:\n    llmops:endpoints:\n      other:\n        model: o@1\n\n# end\nencryptionsalt: x\n",
        ["      chatbot:", "        model: M"],
        4,
    ),
    "a list last": (
        "config:\n  llmops:endpoints:\n    other:\n      tags:\n      - a\n      - b\n",
        ["    chatbot:", "      model: M"],
        6,
    ),
    "an entry without model": (
        "config:\n  llmops:endpoints:\n    chatbot:\n      endpoint: off\n",
        ["      model: M"],
        4,
    ),
    "no config": ("encryptionsalt: x\n", ["config:", "  llmops:endpoints:", "    chatbot:", "      model: M"], 1),
    "an empty file": ("", ["config:", "  llmops:endpoints:", "    chatbot:", "      model: M"], 0),
}


@pytest.mark.parametrize(("before", "lines", "at"), ADDED.values(), ids=ADDED.keys())
def test_adds_lines_and_changes_no_other(tmp_path: Path, before: str, lines: list[str] | None, at: int) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(before)
    file = StackFile(path)

    file.set("chatbot", "model", NEW)
    file.write()

    assert StackFile(path).promoted()["chatbot"].model == NEW
    if lines is not None:
        old = before.splitlines()
        assert path.read_text().splitlines() == [*old[:at], *(line.replace("M", NEW) for line in lines), *old[at:]]


def test_removes_exactly_the_line_of_a_field(tmp_path: Path) -> None:
    lines = ["config:", "  llmops:endpoints:", "    chatbot:", "      # why", "      model: a"]
    text = "\n".join([*lines, "      gate: waived # for now", "      port: 0\n"])
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text)
    file = StackFile(path)

    file.remove("chatbot", "gate")
    file.remove("chatbot", "nothing")
    file.write()

    assert path.read_text() == text.replace("      gate: waived # for now\n", "")


def test_keeps_the_mode_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text("config: {}\n")
    path.chmod(0o640)
    file = StackFile(path)
    file.set("chatbot", "model", NEW)
    file.write()
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["Pulumi.dev.yaml"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("config:\n  a: [1\n", "Pulumi.dev.yaml:3"),
        ("config:\n  llmops:endpoints: [1]\n", "llmops:endpoints"),
        ("config:\n  llmops:endpoints:\n    chatbot: 5\n", "llmops:endpoints"),
        ("config:\n  llmops:endpoints:\n    a: &x {model: 1}\n    chatbot: *x\n", "Pulumi.dev.yaml"),
    ],
)
def test_refuses_what_it_can_not_edit_and_leaves_it(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text)
    with pytest.raises(KitError) as caught:
        StackFile(path).set("chatbot", "model", NEW)
    assert where in caught.value.where
    assert path.read_text() == text


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="no such stack file"):
        StackFile(tmp_path / "Pulumi.dev.yaml")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "config:\n  llmops:target: aws # there\n",
            "config:\n  llmops:target: aws # there\n  llmops:images:\n    serving: r\n",
        ),
        ("config:\n  llmops:images: {}\n", "config:\n  llmops:images:\n    serving: r\n"),
        (
            "config:\n  llmops:images:\n    serving: 'old' # ours\n    training: t\n",
            "config:\n  llmops:images:\n    serving: 'r' # ours\n    training: t\n",
        ),
        ("config:\n  llmops:images: {training: t}\n", "config:\n  llmops:images: {training: t, serving: r}\n"),
        (
            "config:\r\n  llmops:images:\r\n    training: t\r\n# end\r\n",
            "config:\r\n  llmops:images:\r\n    training: t\r\n    serving: r\r\n# end\r\n",
        ),
        ("", "config:\n  llmops:images:\n    serving: r\n"),
    ],
)
def test_a_field_of_a_key_changes_and_every_other_byte_stays(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_bytes(before.encode())
    file = StackFile(path)
    file.set_field("images", "serving", "r")
    file.write()
    assert path.read_bytes().decode() == after


def test_what_protects_the_secrets_is_read(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text("secretsprovider: awskms://alias/x?region=us-east-1\nconfig: {}\n")
    assert StackFile(path).secrets_provider == "awskms://alias/x?region=us-east-1"
    path.write_text("config: {}\n")
    assert StackFile(path).secrets_provider == ""


def test_the_settings_in_the_file_are_typed_whatever_yaml_takes_them_for(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(
        "config:\n  llmops:target: aws\n  llmops:expires: 2026-12-31\n  llmops:aws:\n    jobs: {spot: on}\n"
        f"  llmops:endpoints:\n    chatbot: {{model: '{NEW}', endpoint: off}}\n  llmops:own: of a user's program\n"
    )
    settings = StackFile(path).settings()
    assert (settings.target, settings.expires, settings.aws.jobs.spot) == ("aws", "2026-12-31T00:00:00Z", True)
    assert not settings.endpoints["chatbot"].endpoint


def test_a_wrong_setting_is_named_with_its_line_if_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text("config:\n  llmops:target: aws\n  llmops:aws:\n    region: here\n    regoin: x\n")
    with pytest.raises(SettingError) as caught:
        StackFile(path).settings("aws")
    assert caught.value.where == "Pulumi.dev.yaml:5: llmops:aws.regoin"
    assert "region" in caught.value.fix
    assert StackFile(path).settings("endpoints", "target").target == "aws"
    assert StackFile(path).target == "aws"
