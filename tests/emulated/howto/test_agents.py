"""The trained assistant on the twin of each cloud, used by the same agents through the cloud's own route."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.emulated.howto.conftest import Site
from tests.support.demo import Demo
from tests.support.servers.agents import access_of, require_agents_work, version_folder

pytestmark = pytest.mark.long  # as the recipe's demo, which it takes the version of
PUT = """\
import sys
from pathlib import Path
from llmops_kit.cli.context import Context
platform = Context().platform
print(platform.store().put_model(Path(sys.argv[1]), platform.sign).alias)
"""


@contextmanager
def serving(site: Site, version: Path) -> Iterator[None]:
    """An endpoint `assistant` of the site's stack, which is removed in the end."""
    stack_file = site.folder / f"Pulumi.{site.cloud}-dev.yaml"
    before = stack_file.read_text()
    put = f"python -c {shlex.quote(PUT)} {shlex.quote(str(version))}"
    site.run(f"set -e\nllmops up\n{put}\nllmops promote assistant@1 --endpoint assistant\nllmops up")
    try:
        yield
    finally:
        stack_file.write_text(before)
        site.run("llmops up")


@pytest.mark.parametrize("site", ["aws", "azure"], indirect=True)
def test_agents_call_functions_through_the_clouds_route(site: Site, assistant: Demo) -> None:
    version = version_folder(assistant.folder, "demo-assistant", "assistant")
    with serving(site, version):
        access = access_of(site.run("llmops status --env assistant --hours 1 --json"))
        require_agents_work(*access, site.environ)
