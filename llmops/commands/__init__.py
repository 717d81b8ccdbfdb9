"""The verbs of `llmops`, a module for each group of them. Light: what a verb does is imported when it is called."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
