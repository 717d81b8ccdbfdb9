"""`python -m llmops`: the same as the command `llmops`."""

from llmops.cli import main

main()
