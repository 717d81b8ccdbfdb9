"""The echo image, built once a session, and homes that leave no process behind."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hosting.host import Host
from hosting.images import ImageSource, build
from hosting.spec import EndpointSpec

_ROOT = Path(__file__).resolve().parents[3]
_PACKAGES = (
    "aiohttp aiohappyeyeballs aiosignal attrs frozenlist idna multidict propcache typing-extensions yarl".split()
)


def echo_source(folder: Path) -> ImageSource:
    """The echo server, with the part of the kit's lock that it needs."""
    blocks = re.split(r"\n(?=[a-z0-9])", (_ROOT / "requirements/kit.txt").read_text())
    wanted = [block for block in blocks if re.split(r"[=<>; ]", block)[0] in _PACKAGES]
    requirements = folder / "echo.txt"
    requirements.write_text("\n".join(wanted) + "\n")
    return ImageSource("echo", requirements, {"echo": Path(__file__).parent / "echo"})


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
    """An endpoint `echo` with one instance; change it with `model_copy` or `with_`."""
    return EndpointSpec(name="echo", image=image, command=["python", "-m", "echo"], ready_seconds=20)
