"""The Pulumi program that `main` in Pulumi.yaml names. A project of your own has the same two lines."""

from llmops_kit.infra.__main__ import main

main()
