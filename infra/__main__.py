"""The Pulumi program, as Pulumi.yaml's `main` names it. A folder of one's own has the same two lines."""

from llmops_kit.infra.__main__ import main

main()
