"""Runs the steps of a bootstrap: each one checks the present state, changes only what differs, and reports it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from llmops_kit.cli.interfaces.platform import Say

PROMOTE_ENVIRONMENT = "promote"
"""Environment on GitHub whose jobs may assume the promote role; its protection rules define who approves them."""


@dataclass(kw_only=True)
class Steps:
    """Steps of a bootstrap: rows of (what, "is there", "made", "changed: …" or "would be …")."""

    say: Say
    dry_run: bool = False
    rows: list[dict[str, str]] = field(default_factory=list)

    def there(self, what: str) -> None:
        """Records a resource that needs no change."""
        self.rows.append({"what": what, "state": "is there"})

    def make(self, what: str, do: Callable[[], object]) -> None:
        self._do(what, "made", "would be made", do)

    def change(self, what: str, difference: str, do: Callable[[], object]) -> None:
        """Changes something that differs."""
        self._do(what, f"changed: {difference}", f"would be changed: {difference}", do)

    def keep(self, what: str, why: str) -> None:
        """Records a difference that stays, because a change would weaken it or it belongs to somebody else."""
        self.rows.append({"what": what, "state": f"kept: {why}"})

    def explained(self, what: str) -> AbstractContextManager[None]:
        """Turns a cloud's refusal of a step into a KitError with the fix."""
        raise NotImplementedError

    def _do(self, what: str, done: str, planned: str, do: Callable[[], object]) -> None:
        if not self.dry_run:
            self.say(f"{what} …")
            with self.explained(what):
                do()
        self.rows.append({"what": what, "state": planned if self.dry_run else done})


ADMINISTRATOR = "bootstrap needs an administrator of the account; rerun, it resumes"
