"""The echo image, built once a session, and homes that leave no process behind."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from llmops_kit.local_runtime.host import Host
from llmops_kit.local_runtime.process_images import ImageSource, build
from llmops_kit.local_runtime.spec import EndpointSpec
from tests.support.servers.echo import echo_source


@pytest.fixture(name="echo_source", scope="session")
def _echo_source_fixture() -> Callable[[Path], ImageSource]:
    return echo_source


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The reference of the echo image."""
    return build(echo_source(tmp_path_factory.mktemp("echo")))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A home of its own, shut down at the end."""
    host = Host(tmp_path / "home")
    yield host
    host.shutdown()


@pytest.fixture
def spec(image: str) -> EndpointSpec:
    """An endpoint `echo` with one instance."""
    return EndpointSpec(name="echo", image=image, command=["python", "-m", "echo"], ready_seconds=90)


class Load:
    """Clients that ask for one streamed answer after the other, until `stop`."""

    def __init__(self, url: str, clients: int) -> None:
        self.url, self.clients = url, clients
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    def stop(self) -> None:
        """Let the running requests end."""
        self._stopped.set()
        self._thread.join()

    def wait_for(self, answers: int, version: str = "") -> None:
        """Wait until so many answers more came, of this version."""
        wanted = len(self._of(version)) + answers
        eventually(lambda: len(self._of(version)) >= wanted)

    def _of(self, version: str) -> list[str]:
        return [a for a in self.answers if a.startswith(f"data: {version}")]

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._client(session) for _ in range(self.clients)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._stopped.is_set():
            try:
                async with session.get(f"{self.url}/stream?n=20&pause=0.01") as answer:
                    text = await answer.text()
                if answer.status != 200 or text.count("data:") != 20:
                    self.failures.append(f"{answer.status} {text}")
                self.answers.append(text)
            except aiohttp.ClientError as e:
                self.failures.append(repr(e))


@pytest.fixture
def load() -> Iterator[Callable[[str, int], Load]]:
    """Start clients: `load(url, clients)`."""
    started: list[Load] = []

    def start(url: str, clients: int) -> Load:
        started.append(Load(url, clients))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def eventually(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., None]:
    return eventually
