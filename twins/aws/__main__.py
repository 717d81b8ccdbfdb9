"""`python -m twins.aws serve --home FOLDER`: the process of a twin, in the foreground."""

from twins.core.main import Serve, main


def _serve() -> Serve:
    from twins.aws.server import serve

    return serve


if __name__ == "__main__":
    main("twins.aws", __doc__, "region", "us-east-1", _serve)
