"""doctor, schema: check this machine, print document schemas."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from llmops_kit.cli.commands import Json
from llmops_kit.cli.context import Context
from llmops_kit.cli.terminal.plain_text import printable
from llmops_kit.cli.terminal.tables import print_json, print_rows
from llmops_kit.core.errors import NotFoundError

if TYPE_CHECKING:
    from llmops_kit.cli.doctor import Diagnosis


def register(app: typer.Typer) -> None:
    app.command()(doctor)
    app.command(hidden=True)(schema)


def doctor(
    context: typer.Context,
    repository: Annotated[
        str,
        typer.Argument(
            help="Repository for --github, as `bootstrap` got it. Default: $GITHUB_REPOSITORY or origin.",
            metavar="OWNER[@ID]/REPO[@ID]",
            show_default=False,
        ),
    ] = "",
    github: Annotated[
        bool, typer.Option("--github", help="Check the repository's settings on GitHub instead of this machine.")
    ] = False,
    branch: Annotated[
        str, typer.Option(help="With --github: branch that may deploy. Default: main.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """Check this machine, and show how to install missing parts; with --github, the repository's settings.

    The exit code is 1 if the kit, or the target of the chosen stack, lacks something. Without a
    stack (--stack, $PULUMI_STACK), missing parts for clouds are only notes.

    --github checks who can sign and deploy: the environment `promote` with its reviewers and
    branches, the form of token subjects, and the branch's rules. It reads GitHub's API with the
    token in $GH_TOKEN or $GITHUB_TOKEN. The exit code is also 1 if a setting could not be read.

    llmops doctor
    llmops doctor --stack aws-dev
    llmops doctor --github acme@6811672/assistant@8675309
    """
    here: Context = context.obj
    if github:
        from llmops_kit.cli.doctor_github import examine_repository

        findings = examine_repository(repository, branch or "main", here.cwd, os.environ)
    elif repository or branch:
        raise typer.BadParameter("a repository and its branch are checked with --github")
    else:
        from llmops_kit.cli.doctor import examine

        findings = examine(here.cwd, here.target)
    if as_json:
        print_json([{"check": f.name, "state": f.state, "found": f.found, "fix": f.fix} for f in findings])
    else:
        print_findings(findings)
    if any(f.state in ("missing", "unknown") for f in findings):
        raise typer.Exit(1)


def print_findings(findings: "Sequence[Diagnosis]") -> None:
    """Print one line per check, with its fix below, for terminals of any width."""
    width = max(len(f.name) for f in findings)
    for finding in findings:
        print(f"{finding.state:<7}  {finding.name:<{width}}  {printable(finding.found)}")
        if finding.fix:
            print(f"{'':<7}  {'':<{width}}  fix: {printable(finding.fix)}")


def schema(
    name: Annotated[str, typer.Argument(help="Kind of document. Default: list the kinds.")] = "",
    as_json: Json = False,
) -> None:
    """Print the JSON schema of a document, for editors and your own checks.

    llmops schema recipe > recipe.schema.json
    """
    from llmops_kit.core.documents.schemas import DOCUMENTS, json_schema
    from llmops_kit.core.validation import did_you_mean

    if not name:
        rows = [{"document": n, "schema": d.SCHEMA, "what": _summary(d.__doc__)} for n, d in DOCUMENTS.items()]
        print_rows(rows, ["document", "schema", "what"], as_json)
        return
    if name not in DOCUMENTS:
        fix = did_you_mean(name, DOCUMENTS) or f"one of: {', '.join(DOCUMENTS)}"
        raise NotFoundError(f"there is no document {name!r}", fix=fix)
    print_json(json_schema(name))


def _summary(text: str | None) -> str:
    return (text or "").strip().split("\n")[0]
