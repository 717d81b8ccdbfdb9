"""Building images: once, whole or not at all."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llmops_kit.core.errors import HostingError
from llmops_kit.core.layout import EXPORT_VARIABLE
from llmops_kit.local_runtime.process_images import ImageSource, build, find, process_environ, reference

_BUILD = """
import sys
from pathlib import Path
from llmops_kit.local_runtime.process_images import ImageSource, build
print(build(ImageSource(sys.argv[3], Path(sys.argv[1]), {"echo": Path(sys.argv[2])}, shares="echo")))
"""


@pytest.fixture
def source(echo_source: Callable[[Path], ImageSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageSource:
    """The echo image, to be built into a cache of its own; a small one, as copying is all that there is to it."""
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    source = echo_source(tmp_path)
    package = Path(shutil.copytree(source.packages["echo"], tmp_path / "echo"))
    return ImageSource("echo", source.requirements, {"echo": package})


def start(source: ImageSource, name: str = "echo") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _BUILD, str(source.requirements), str(source.packages["echo"]), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_built_image_runs_from_its_own_environment(source: ImageSource, tmp_path: Path) -> None:
    said: list[str] = []
    image = find(build(source, said.append))
    assert image.ref == reference(source)
    assert any("making its environment" in line for line in said)
    (source.packages["echo"] / "__main__.py").write_text("raise SystemExit('the checkout, not the copy')")
    code = "import sys, aiohttp, echo; print(sys.prefix, echo.__path__[0]); import pulumi"
    done = subprocess.run(
        [image.python, "-c", code], env=process_environ(image, tmp_path / "root"), capture_output=True, text=True
    )
    assert done.stdout.split() == [str(image.python.parents[1]), str(image.app / "echo")]
    assert "No module named 'pulumi'" in done.stderr


def test_a_second_environment_has_its_own_packages_and_those_of_the_first(
    source: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = re.split(r"\n(?=[a-z])", source.requirements.read_text())
    first = tmp_path / "first.txt"
    first.write_text("\n".join(entry for entry in entries if not entry.startswith("idna==")))
    with_export = ImageSource("echo", first, source.packages, export=source.requirements)
    image = find(build(with_export))
    environ = process_environ(image, tmp_path / "root")
    code = "import idna; print(idna.__file__); import aiohttp; print(aiohttp.__file__)"
    found = [
        subprocess.run([python, "-c", code], env=environ, capture_output=True, text=True).stdout.splitlines()
        for python in (image.python, environ[EXPORT_VARIABLE])
    ]
    assert found[0] == []
    ours, shared = found[1]
    assert Path(ours).is_relative_to(Path(environ[EXPORT_VARIABLE]).parents[1])
    assert Path(shared).is_relative_to(image.python.parents[1])

    (tmp_path / "other").mkdir()
    (tmp_path / "other/venvs").symlink_to(tmp_path / "cache/venvs")
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "other"))
    said: list[str] = []
    build(with_export, said.append)
    assert not [line for line in said if "making its environment" in line]


def test_a_changed_file_makes_another_image_with_the_same_environment(source: ImageSource) -> None:
    first = find(build(source))
    with (source.packages["echo"] / "__main__.py").open("a") as f:
        f.write("# changed\n")
    said: list[str] = []
    second = find(build(source, said.append))
    assert (second.python, said) == (first.python, [])
    assert second.app != first.app
    assert find(first.ref) == first


def test_two_builders_at_once_build_one_image(source: ImageSource, tmp_path: Path) -> None:
    builders = [start(source) for _ in range(3)]
    refs = {builder.communicate()[0].strip() for builder in builders}
    assert [b.returncode for b in builders] == [0, 0, 0]
    assert refs == {reference(source)}
    assert len(list((tmp_path / "cache/venvs").glob("echo-*"))) == 1


def test_builders_of_images_that_share_an_environment_make_it_once(source: ImageSource, tmp_path: Path) -> None:
    builders = [start(source, name) for name in ("echo", "one", "two")]
    refs = [builder.communicate()[0].strip() for builder in builders]
    assert [b.returncode for b in builders] == [0, 0, 0]
    assert len(set(refs)) == 3
    assert {find(ref).python.parents[1] for ref in refs} == set((tmp_path / "cache/venvs").glob("echo-*"))


@pytest.mark.parametrize("seconds", [0.3, 0.5, 0.8])
def test_a_build_that_is_killed_leaves_nothing_that_counts_as_built(source: ImageSource, seconds: float) -> None:
    with start(source) as builder:
        try:
            builder.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(builder.pid, signal.SIGKILL)
    image = find(build(source))
    done = subprocess.run([image.python, "-c", "import aiohttp"], env={}, capture_output=True)
    assert done.returncode == 0


def test_an_image_whose_environment_was_removed_is_built_again(source: ImageSource) -> None:
    ref = build(source)
    shutil.rmtree(find(ref).python.parents[1])
    with pytest.raises(HostingError, match="not built"):
        find(ref)
    assert build(source) == ref
    assert find(ref).app.is_dir()


def test_requirements_that_cannot_be_met_are_an_error_with_uvs_words(source: ImageSource, tmp_path: Path) -> None:
    source.requirements.write_text("aiohttp==3.14.5 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(HostingError, match=r"(?s)environment of image echo can't be made.*fix: "):
        build(source)
    assert not list((tmp_path / "cache/images/echo").glob("[0-9a-f]*"))
