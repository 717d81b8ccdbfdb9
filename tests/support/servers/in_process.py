"""One request to an ASGI app in this process."""

import asyncio
import json
from typing import Any

from llmops_kit.serving.front.exchange import Application, Message, Scope

KEY = "0123456789abcdef"


class Asking:
    """A request and what came back; the client stays until `gone` is set."""

    def __init__(self, method: str, path: str, body: bytes = b"", key: str = KEY, **headers: str) -> None:
        given = {"authorization": f"Bearer {key}", "content-length": str(len(body)), **headers}
        encoded = [(n.replace("_", "-").encode(), v.encode("latin-1")) for n, v in given.items()]
        self.scope: Scope = {"type": "http", "method": method, "path": path, "headers": encoded}
        self.messages: list[Message] = []
        self.gone = asyncio.Event()
        self._parts = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive(self) -> Message:
        if self._parts:
            return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    async def by(self, server: Application) -> "Asking":
        await server(self.scope, self.receive, self.send)
        return self

    @property
    def unread(self) -> int:
        """Messages of the body that the server has not taken."""
        return len(self._parts)

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages[1:])

    @property
    def frames(self) -> list[Any]:
        """Data of a stream's events; "[DONE]" is one."""
        data = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [each if each == "[DONE]" else json.loads(each) for each in data]
