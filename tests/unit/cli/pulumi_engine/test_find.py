"""Which engine is taken: executables of our own making stand for Pulumi's."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from llmops_kit.cli.pulumi_engine import engine as pulumi_engine
from llmops_kit.cli.pulumi_engine import install
from llmops_kit.cli.pulumi_engine.version import FOLDER
from llmops_kit.core.errors import KitError

GO_HERE = shutil.which("go") or ""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return tmp_path / "cache"


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def pulumi(folder: Path, version: str, language_host: bool = True) -> Path:
    if language_host:
        executable(folder / "pulumi-language-python", "exit 0")
    return executable(folder / "pulumi", f"echo {version}")


def on_path(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, folders), "/usr/bin:/bin"]))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v3.274.1\n", (3, 274, 1)),
        ("3.280.0-alpha.1+dirty", (3, 280, 0)),
        ("v10.2.3", (10, 2, 3)),
        ("", None),
        ("unknown", None),
    ],
)
def test_versions(text: str, version: tuple[int, int, int] | None) -> None:
    assert pulumi_engine.parse_version(text) == version


def test_the_pinned_version_is_one_that_the_kit_takes() -> None:
    assert (pulumi_engine.parse_version(pulumi_engine.pinned_version()) or ()) >= pulumi_engine.MINIMUM


def test_the_users_pulumi_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pulumi(pulumi_engine.engine_home() / "bin", pulumi_engine.pinned_version())
    users = pulumi(tmp_path / "users", "v3.270.0")
    on_path(monkeypatch, tmp_path / "users")
    assert pulumi_engine.find() == pulumi_engine.EngineInstall(users, "3.270.0", own=False, env={})


@pytest.mark.parametrize(
    ("version", "language_host", "reason"),
    [
        ("v3.100.0", True, "is not used because its version 3.100.0 is below 3.260.0"),
        ("nonsense", True, "names no version"),
        ("v3.270.0", False, "it has no pulumi-language-python"),
    ],
)
def test_an_unusable_pulumi_is_passed_over_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, language_host: bool, reason: str
) -> None:
    pulumi(tmp_path / "old", version, language_host)
    good = pulumi(tmp_path / "good", "v3.274.0")
    on_path(monkeypatch, tmp_path / "old")
    lines: list[str] = []
    assert pulumi_engine.find(lines.append) is None
    assert reason in lines[0]
    if language_host:  # with the other one's language host on PATH, an engine without its own is complete
        on_path(monkeypatch, tmp_path / "old", tmp_path / "good")
        found = pulumi_engine.find()
        assert found
        assert found.pulumi == good


def test_the_kits_engine_on_path_is_not_taken_for_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pulumi_engine.engine_home() / "bin"
    pulumi(folder, f"v{pulumi_engine.pinned_version()}", language_host=False)
    on_path(monkeypatch, folder)
    found = pulumi_engine.find()
    assert found
    assert (found.own, found.version) == (True, pulumi_engine.pinned_version())
    assert found.env["PATH"].split(os.pathsep)[0] == str(found.pulumi.parent)
    assert os.access(found.pulumi.with_name("pulumi-language-python"), os.X_OK)
    assert os.access(found.pulumi.with_name("pulumi-resource-pulumi-python"), os.X_OK)
    on_path(monkeypatch, found.pulumi.parent)
    again = pulumi_engine.find()
    assert again
    assert (again.own, again.pulumi) == (True, found.pulumi)


@pytest.mark.parametrize(("users", "used"), [("", "400"), ("50", "50")])
def test_the_kits_engine_collects_its_garbage_seldom(monkeypatch: pytest.MonkeyPatch, users: str, used: str) -> None:
    pulumi(pulumi_engine.engine_home() / "bin", f"v{pulumi_engine.pinned_version()}", language_host=False)
    monkeypatch.setenv("GOGC", users) if users else monkeypatch.delenv("GOGC", raising=False)
    found = pulumi_engine.find()
    assert found
    assert found.env["GOGC"] == used


def test_an_engine_with_pulumis_own_language_host_gets_the_kits() -> None:
    """As an earlier version of the kit downloaded it: Pulumi's dynamic provider executes what the state says."""
    folder = pulumi_engine.engine_home() / "bin"
    pulumi(folder, f"v{pulumi_engine.pinned_version()}")
    found = pulumi_engine.find()
    assert found
    host = found.pulumi.with_name("pulumi-language-python")
    assert host.read_bytes() == (FOLDER / "bin/pulumi-language-python").read_bytes()
    assert found.env["PATH"].split(os.pathsep)[0] == str(host.parent)
    assert (host.parent / "provider_guard.py").is_file()


@pytest.fixture
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that can't get an environment: as a machine without a connection, and as quick."""
    nothing = executable(Path(os.environ["LLMOPS_CACHE"]).parent / "python", "exit 1")
    monkeypatch.setattr(sys, "executable", str(nothing))


GO = """\
if [ "$1" = env ]; then echo go{version}; exit; fi
env | grep ^GO >"$LLMOPS_CACHE/../settings"
if [ "$1" = list ]; then echo "go: downloading one v1.0.0"; printf 'one/a\\none/b\\n'; exit; fi
if [ -n "{fail}" ]; then echo "go: module lookup disabled"; exit 1; fi
printf 'one/a\\none/b\\n'
while [ "$1" != -o ]; do shift; done
echo built >>"{count}"
mkdir -p "$(dirname "$2")"; printf '#!/bin/sh\\necho v{engine}\\n' >"$2"; chmod +x "$2"
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go whose builds are quick; the file counts them."""
    count = tmp_path / "count"
    script = GO.format(version="1.99.0", fail="", count=count, engine=pulumi_engine.pinned_version())
    executable(tmp_path / "go" / "go", script)
    on_path(monkeypatch, tmp_path / "go")
    return count


def test_without_engine_and_download_it_is_built_once_for_all(go: Path) -> None:
    found: list[pulumi_engine.EngineInstall] = []
    threads = [threading.Thread(target=lambda: found.append(pulumi_engine.ensure(lambda line: None))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert go.read_text() == "built\n"
    assert len({install.pulumi for install in found}) == 1
    home = pulumi_engine.engine_home()
    assert sorted(path.name for path in home.parent.iterdir()) == [home.name, f"{home.name}.lock"]


@pytest.mark.vulnerability(11)
@pytest.mark.scorecard("hashed-locks")
@pytest.mark.usefixtures("go")
def test_vulnerability_11_every_module_of_the_build_has_its_pinned_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this shell's settings are."""
    for name, value in {"GOFLAGS": "-mod=mod", "GONOSUMDB": "*", "GOPRIVATE": "*", "GOINSECURE": "*"}.items():
        monkeypatch.setenv(name, value)
    pulumi_engine.ensure(lambda line: None)
    settings = dict(line.split("=", 1) for line in (tmp_path / "settings").read_text().splitlines())
    assert settings["GOFLAGS"] == "-mod=readonly"
    assert (settings["GONOSUMDB"], settings["GOPRIVATE"], settings["GOINSECURE"]) == ("", "", "")
    assert settings["GOTOOLCHAIN"] == "local"
    sums = (FOLDER / "go" / "go.sum").read_text().splitlines()
    assert all(re.fullmatch(r"\S+ v\S+ h1:[A-Za-z0-9+/]{43}=", line) for line in sums)
    assert any(
        line.startswith(f"github.com/pulumi/pulumi/pkg/v3 v{pulumi_engine.pinned_version()} h1:") for line in sums
    )
    lock = (FOLDER / "go" / "requirements.txt").read_text()
    packages = re.findall(r"^[a-z]\S*==\S+(.*)$", lock, re.MULTILINE)
    assert packages == [" \\"], "each has its hashes below"


@pytest.mark.usefixtures("go")
def test_a_build_says_first_how_to_skip_it_and_then_how_far_it_is() -> None:
    """Go's cache may hold most of the packages: those that will be compiled are counted."""
    lines: list[str] = []
    pulumi_engine.ensure(lines.append)
    why, skip, *progress = (line for line in lines if not line.startswith("Pulumi engine"))
    assert why.endswith("so its engine is compiled, once on this machine (3 to 10 minutes)")
    assert skip.startswith("to skip this, install `pulumi` 3.260.0 or newer (https://")
    step = f"building Pulumi engine {pulumi_engine.pinned_version()}: "
    assert progress
    assert all(line.startswith(step) for line in progress)


@pytest.mark.parametrize(
    ("listed", "built", "words"),
    [
        ([], None, "listing its packages"),
        (["go: downloading one v1", "go: finding", "one/a"], None, "1 modules fetched"),
        (["go: downloading one v1", "one/a", "one/b", "one/c"], [], "0 of 3 packages compiled"),
        (["one/a", "one/b", "one/c"], ["one/a", "# one/a", "one/b"], "2 of 3 packages compiled"),
        (["one/a"], ["one/a"], "all 1 packages compiled, linking them"),
        ([], [], "all 0 packages compiled, linking them"),
    ],
)
def test_a_build_counts_the_packages_that_are_not_in_gos_cache(
    listed: list[str], built: list[str] | None, words: str
) -> None:
    lines: list[str] = []
    counter = install._Counter(lines.append, "building")
    for line in listed:
        counter.list_line(line)
    if built is not None:
        counter.end_list()
    for line in built or ():
        counter.build_line(line)
    counter.tick()
    assert lines == [f"building: {words}, 0:00"]


@pytest.mark.skipif(not GO_HERE, reason="no Go on PATH")
def test_go_lists_just_the_packages_that_it_will_compile(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module one\n\ngo 1.21\n")
    for name, text in {"a": "package a\n", "b": 'package b\n\nimport _ "one/a"\n'}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.go").write_text(text)
    environ = {**os.environ, **install._GO_SETTINGS, "HOME": str(tmp_path), "GOCACHE": str(tmp_path / "cache")}

    def go(*arguments: str) -> list[str]:
        done = subprocess.run([GO_HERE, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True)
        return (done.stdout + done.stderr).split()

    def listed() -> list[str]:
        return go("list", "-deps", "-trimpath", "-f", install._UNCACHED, "./b")

    assert listed() == ["one/a", "one/b"]
    assert go("build", "-v", "-trimpath", "./a") == ["one/a"]
    assert listed() == go("build", "-v", "-trimpath", "./b") == ["one/b"]
    assert listed() == []


def test_what_a_killed_build_left_is_removed(go: Path) -> None:
    left = pulumi_engine.engine_home().with_name("making-left")
    (left / "bin").mkdir(parents=True)
    pulumi_engine.ensure(lambda line: None)
    assert not left.exists()


@pytest.mark.usefixtures("go")
def test_a_failed_build_shows_why_and_leaves_nothing(tmp_path: Path) -> None:
    executable(tmp_path / "go" / "go", GO.format(version="1.99.0", fail="yes", count="", engine=""))
    with pytest.raises(KitError, match="module lookup disabled") as caught:
        pulumi_engine.ensure(lambda line: None)
    assert "pulumi.com/docs/install" in caught.value.fix
    assert [path.suffix for path in pulumi_engine.engine_home().parent.iterdir()] == [".lock"]


@pytest.mark.usefixtures("no_registry", "go")
def test_an_old_go_and_no_registry_is_one_clear_error(tmp_path: Path) -> None:
    executable(tmp_path / "go" / "go", GO.format(version="1.19.2", fail="", count="", engine=""))
    with pytest.raises(KitError, match=r"there is no Go \d+\.\d+") as caught:
        pulumi_engine.ensure(lambda line: None)
    assert caught.value.fix


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    script = executable(tmp_path / "slow", f"sleep 300 & echo $! >{tmp_path}/child; wait")
    with pytest.raises(subprocess.TimeoutExpired):
        install._run([str(script)], dict(os.environ), tmp_path, 0.5)
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 120
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the command's child still runs"
        time.sleep(0.02)
