"""Entry point of `python -m twins`."""

from twins.cli import main

if __name__ == "__main__":
    main()
