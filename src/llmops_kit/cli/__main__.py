"""`python -m llmops_kit.cli`, and the command `llmops`."""

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    from llmops_kit.cli.cli import main as run

    run()


if __name__ == "__main__":
    main()
