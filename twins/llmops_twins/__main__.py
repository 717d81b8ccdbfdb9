"""Entry point of `python -m llmops_twins`."""

from llmops_twins.cli import main

if __name__ == "__main__":
    main()
