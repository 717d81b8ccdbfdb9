"""What only a twin has: routes below /_twin/."""

import json
from typing import Any

from werkzeug.wrappers import Request, Response

from twins.azure.twin import Twin

PREFIX = "/_twin/"


def respond(twin: Twin, environ: dict[str, Any]) -> Response:
    """Answer a request for /_twin/…."""
    request = Request(environ)
    if request.path == PREFIX + "health":
        return Response(json.dumps({"ready": True, "subscription": twin.subscription}), content_type="application/json")
    return Response(json.dumps({"error": f"no route {request.method} {request.path}"}), 404)
