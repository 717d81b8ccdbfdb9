"""`python -m twins`, and the command `twins`."""

from twins.cli import main

if __name__ == "__main__":
    main()
