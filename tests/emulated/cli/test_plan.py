"""`llmops plan` and `llmops down` of a stack that is not in its backend yet."""

from pathlib import Path

from tests.emulated.cli.conftest import Kit


def _files(folder: Path) -> dict[str, bytes]:
    """Everything but Python's caches, and what the engine keeps of its own in $PULUMI_HOME."""
    found = (p for p in folder.rglob("*") if p.parts[len(folder.parts)] != "pulumi" and "__pycache__" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in found}


def test_a_plan_of_a_new_stack_makes_nothing(kit: Kit) -> None:
    (kit.folder / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local # here\n")
    before = _files(kit.folder)
    changes = kit.json("plan")["changes"]
    assert any(change["name"].startswith("signing-key") for change in changes)
    kit.run("plan", "--detailed-exitcode", code=2)
    assert _files(kit.folder) == before


def test_a_stack_that_does_not_exist_is_not_taken_down(kit: Kit) -> None:
    (kit.folder / "Pulumi.dev.yaml").write_text("config:\n  llmops:target: local\n")
    for options in ([], ["--discard-runs"]):
        lines = kit.run("down", *options, code=1).splitlines()
        assert lines[0] == "error: stack dev does not exist, so there is nothing to remove"
        assert [line.split()[0] for line in lines[1:]] == ["where:", "fix:"]
