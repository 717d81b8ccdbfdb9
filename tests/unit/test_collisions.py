"""What our classes share with the library classes that they extend is meant; training's are tested in its folder."""

from tests.support.checkout import PACKAGES
from tests.support.collisions import Rooms

_TAKES = "takes the guard's method as its own"
DELIBERATE = {
    "llmops_kit.local_runtime.files.UnixConnection.sock": "is the base's: the connected socket",
    "llmops_kit.local_runtime.routing.http_handler._Handler.transport": (
        "is the base's: taken away where the connection is handed over"
    ),
    "llmops_kit.cli.pulumi_engine.language_host.LanguageHost.program": "is the base's: the program to run",
    "llmops_kit.serving.api.openai.ChatRequest.schema": (
        "hides pydantic's deprecated method, as a field of requests may"
    ),
    "llmops_kit.serving.front.handover._HandedConnection.eof_received": _TAKES,
    "llmops_kit.serving.front.handover._HandedConnection.pause_writing": _TAKES,
    "llmops_kit.serving.front.handover._HandedConnection.resume_writing": _TAKES,
    "llmops_twins.core.handler.Handler.close_connection": "is the base's: whether the connection ends",
    "llmops_twins.core.handler.Handler.environ": "is the base's: the request's",
    "llmops_twins.plugins.azure_native.arm._Polling._sleep": (
        "waits as short as a twin takes, within the plugin's deadline"
    ),
}


def test_only_deliberate_names_are_shared() -> None:
    rooms = Rooms(*(set(PACKAGES) - {"llmops_kit.training"}))
    found = rooms.collisions(rooms.modules())
    assert {name: found[name] for name in found.keys() - DELIBERATE.keys()} == {}
    assert DELIBERATE.keys() - found.keys() == set()
