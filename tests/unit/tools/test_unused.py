from pathlib import Path

from tools.unused import unused

MODULE = """
from dataclasses import dataclass


@dataclass
class Settings:
    read: int = 0
    never_read: int = 0


def called() -> int:
    return Settings().read


def tested_only() -> int:
    return called()


def by_its_name() -> None:
    pass


PROVIDER = "by_its_name"
"""


def test_what_tests_alone_use_is_found(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "module.py").write_text(MODULE)
    (tmp_path / "data.json").write_text('["PROVIDER"]')
    (tmp_path / "tests/test_module.py").write_text("from module import tested_only\n\ntested_only()\n")
    found = [line.rpartition(" ")[2] for line in unused([tmp_path])]
    assert found == ["never_read", "tested_only"]
