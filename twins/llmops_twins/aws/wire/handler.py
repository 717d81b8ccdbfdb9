"""HTTP for the twin of AWS: persistent connections, and headers as moto needs them."""

from moto.moto_server.werkzeug_app import MotoRequestHandler

from llmops_twins.core.handler import Handler as KeepingHandler


class AwsRequestHandler(KeepingHandler, MotoRequestHandler):
    """Keeps connections open, and keeps underscores in names of headers, which S3's metadata needs."""
