"""Images of the kit in Docker, each built once for its files: the next run finds them there."""

import subprocess
from collections.abc import Callable

import pytest

from llmops_kit.local_runtime import containers, process_images

BASES = ("llmops-base", "python:3.11-slim-bookworm", "python:3.11-slim")


def docker(*arguments: str, stdin: str = "", code: int = 0) -> str:
    """What Docker's client says on stdout; on stderr, where it is to fail.

    Raises:
        AssertionError: it ends with another code.
    """
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True)
    assert bool(done.returncode) == bool(code), f"docker {arguments}: {done.stdout}{done.stderr}"
    return (done.stderr if code else done.stdout).strip()


@pytest.fixture(scope="session")
def base() -> str:
    """A base image with Python that is here."""
    try:
        subprocess.run(["docker", "info"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no Docker daemon answers")
    if found := [name for name in BASES if docker("images", "--quiet", name)]:
        return found[0]
    pytest.skip("no base image with Python here: `tools/docker.sh base` makes one")


@pytest.fixture(scope="session")
def built(base: str) -> Callable[[str], str]:
    """Gives the id of one of the kit's images, built of this checkout."""

    def build(name: str) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(containers.BASE_VARIABLE, base)
            files = process_images.ImageSource.of_kit(name).files()
            source = process_images.reference(name).rpartition(":")[2]
            reference = containers.build(name, files, source, print, on=containers.CLOUD_PLATFORM)
        return reference.partition("@")[2]

    return build
