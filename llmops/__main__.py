"""`python -m llmops`, and the command `llmops`."""

from typing import NoReturn

from llmops.hidden_packages import require_nothing_hidden


def main() -> NoReturn:
    """Check that the kit's own packages are the ones that are imported, then run the command line."""
    require_nothing_hidden()
    from llmops.cli import main as run

    run()


if __name__ == "__main__":
    main()
