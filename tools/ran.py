"""`python -m tools.ran`: prints where the kit has run on real clouds, for the README.

Reads the reports in docs/smoke: copies of a smoke test's anonymous report.json.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs/smoke"
CLOUDS = {"aws": "AWS", "azure": "Azure"}


def newest(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Returns target -> the last smoke test on a real account; those on a twin don't count."""
    found: dict[str, dict[str, Any]] = {}
    for path in folder.glob("*.json"):
        report = json.loads(path.read_text())
        if report["schema"] != "smoke/1" or report["twin"]:
            raise ValueError(f"{path} is not a report of a smoke test on a real account")
        before = found.get(report["target"])
        if before is None or report["started"] > before["started"]:
            found[report["target"]] = report
    return found


def words(found: dict[str, dict[str, Any]]) -> str:
    """Returns the README's sentence."""
    if not found:
        return "Never on a real cloud"
    text = "; ".join(_of(name, found.get(target)) for target, name in CLOUDS.items())
    return text[0].upper() + text[1:]


def day(found: dict[str, dict[str, Any]]) -> str:
    """Returns the date of the newest report; empty if there is none."""
    return max((report["started"][:10] for report in found.values()), default="")


def _of(name: str, report: dict[str, Any] | None) -> str:
    if report is None:
        return f"never on {name}"
    states = [step["state"] for step in report["steps"]]
    return (
        f"on {name} on {report['started'][:10]}, version {report['kit_version']}: {states.count('passed')} of "
        f"{len(states)} steps of the smoke test passed"
    )


if __name__ == "__main__":
    print(words(newest()))
