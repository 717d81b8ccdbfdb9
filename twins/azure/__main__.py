"""`python -m twins.azure serve --home FOLDER`: the process of a twin, in the foreground."""

from twins.core.main import Serve, main


def _serve() -> Serve:
    from twins.azure.server import serve

    return serve


if __name__ == "__main__":
    main("twins.azure", __doc__, "location", "westeurope", _serve)
