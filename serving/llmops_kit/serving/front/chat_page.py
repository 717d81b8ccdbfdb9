"""The chat page and its files."""

from importlib.resources import files

from llmops_kit.serving.front.exchange import HttpExchange
from llmops_kit.serving.front.routes import PAGE

_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}


class Page:
    """Serves the page's files, which it reads once."""

    def __init__(self) -> None:
        folder = files("llmops_kit.serving") / "page"
        self._files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in PAGE.items()}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in _SECURITY.items()]

    async def answer(self, exchange: HttpExchange) -> None:
        """Sends the file that the request's path names."""
        body, kind = self._files[exchange.scope["path"]]
        await exchange.answer(200, body, f"{kind}; charset=utf-8", self._headers)
