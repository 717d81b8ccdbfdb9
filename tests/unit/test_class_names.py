"""One class name, one class: whoever reads or searches for a name finds one meaning."""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.support.checkout import CHECKOUT, PACKAGES

ROOMS = [*(folder.relative_to(CHECKOUT).as_posix() for folder in PACKAGES.values()), "bench"]
COMPONENTS = {"ModelStore", "Training", "ModelEndpoint"}
"""Pulumi components, which every target has under the same name and with the same arguments."""


def classes(folder: Path, rooms: list[str]) -> Mapping[str, list[str]]:
    """Class names, private and inner ones too, with the files that define them."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(path for room in rooms for path in (folder / room).rglob("*.py") if "tests" not in path.parts):
        for name in re.findall(r"^ *class (\w+)[:(\[]", path.read_text(), flags=re.MULTILINE):
            found[name].append(path.relative_to(folder).as_posix())
    return found


def test_a_class_name_stands_for_one_class() -> None:
    found = classes(CHECKOUT, ROOMS)
    assert {name: files for name, files in found.items() if len(files) > 1 and name not in COMPONENTS} == {}
    targets = [f"infra/llmops_kit/infra/targets/{target}/components.py" for target in ("aws", "azure", "local")]
    assert all(found[name] == targets for name in COMPONENTS)


def test_a_name_that_is_given_twice_is_found(tmp_path: Path) -> None:
    (tmp_path / "hosting").mkdir()
    (tmp_path / "hosting/a.py").write_text("class _Same:\n    pass\n")
    (tmp_path / "hosting/b.py").write_text("def f():\n    class _Same:\n        pass\n")
    assert classes(tmp_path, ["hosting"]) == {"_Same": ["hosting/a.py", "hosting/b.py"]}
