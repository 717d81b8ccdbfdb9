"""How the twin of AWS speaks HTTP: connections that are kept, and headers as moto wants them."""

from moto.moto_server.werkzeug_app import MotoRequestHandler

from twins.core.handler import Handler as KeepingHandler


class AwsRequestHandler(KeepingHandler, MotoRequestHandler):
    """Keeps connections; names of headers keep their underscores, as S3's metadata needs."""
