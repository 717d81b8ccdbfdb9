"""Commands of earlier releases: each fails with an error that names its replacement."""

from collections.abc import Callable, Mapping

import typer

from llmops_kit.core.errors import KitError

FORMER = {
    "conformance": "make conformance",
    "prices": "llmops plan prices",
    "rehearse --live": "llmops smoke",
    "runs compare": "llmops evaluate",
    "runs export": "llmops export run",
    "sweep": "llmops down --orphans",
    "token": "llmops status --env",
}
"""Words after `llmops`, and the full command in their place. An option is refused by its command."""


class FormerCommandError(KitError):
    """Error for a command that was renamed."""

    exit_code = 2


def register(groups: Mapping[str, typer.Typer]) -> None:
    """Adds the former commands, hidden; they accept any arguments.

    Args:
        groups: the command line by the words before a command; the whole one is "".
    """
    for former in FORMER:
        group, _, name = former.rpartition(" ")
        if name.startswith("-"):
            continue
        groups[group].command(
            name,
            hidden=True,
            add_help_option=False,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )(_refusal(former))


def refuse(former: str) -> None:
    """Raises FormerCommandError, which names the present command."""
    raise FormerCommandError(f"`llmops {former}` is gone", fix=f"use `{FORMER[former]}` instead")


def _refusal(former: str) -> Callable[[], None]:
    def command() -> None:
        refuse(former)

    return command
