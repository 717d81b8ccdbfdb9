"""Who does the job in a container that was started as root."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_kit.core.errors import KitError
from llmops_kit.training.privileges import USER, give_up_root, own
from tests.support.checkout import IMPORT_PATH

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that another user can reach: pytest's own are closed."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_process_that_stands_for_a_container_stays_who_it_is(tmp_path: Path) -> None:
    give_up_root({"LLMOPS_ROOT": str(tmp_path)})
    assert not list(tmp_path.iterdir())


@only_root
def test_folders_and_what_a_platform_restored_in_them_are_given_away(public: Path) -> None:
    restored = public / "checkpoints/abc/checkpoint-2"
    restored.mkdir(parents=True)
    (restored / "complete.json").touch(mode=0o600)
    outside = public / "outside"
    outside.touch()
    (restored / "link").symlink_to(outside)
    own((public / "checkpoints", public / "model"), USER)
    given = [public / "model", *(public / "checkpoints").rglob("*"), public / "checkpoints"]
    assert {(p.lstat().st_uid, p.lstat().st_gid) for p in given} == {(USER, USER)}
    assert outside.stat().st_uid == 0


@only_root
def test_there_is_no_way_back_to_root(public: Path) -> None:
    script = (
        "import os, pathlib\n"
        "from llmops_kit.training.privileges import USER, become, own\n"
        f"folder = pathlib.Path({str(public)!r})\n"
        "own([folder / 'model'], USER)\n"
        "become(USER)\n"
        "assert os.getresuid() == os.getresgid() == (USER, USER, USER), os.getresuid()\n"
        "assert os.getgroups() == [], os.getgroups()\n"
        "assert os.environ['HOME'] == '/tmp'\n"
        "(folder / 'model' / 'file').touch()\n"
        "for forbidden in (lambda: os.setuid(0), lambda: (folder / 'file').touch()):\n"
        "    try:\n"
        "        forbidden()\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    raise SystemExit('allowed')\n"
    )
    environ = {**os.environ, "PYTHONPATH": IMPORT_PATH}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (public / "model/file").stat().st_uid == USER


@only_root
@pytest.mark.scorecard("non-root-digests")
@pytest.mark.parametrize("mount", ["open", "no writing", "no reading"])
def test_where_a_platform_placed_the_folders_the_job_is_root_only_if_it_must(mount: str, public: Path) -> None:
    """As Azure ML does; whether its mounts let another user in is not known here."""
    (public / "dataset").mkdir(mode=0o755)
    (public / "dataset/train.jsonl").touch(mode=0o600 if mount == "no reading" else 0o644)
    (public / "model").mkdir()
    (public / "model").chmod(0o755 if mount == "no writing" else 0o777)
    script = (
        "import os\n"
        "from llmops_kit.training.privileges import give_up_root\n"
        "give_up_root(os.environ)\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
    )
    placed = {f"LLMOPS_FOLDER_{name.upper()}": str(public / name) for name in ("dataset", "model")}
    environ = {k: v for k, v in os.environ.items() if k != "LLMOPS_ROOT"} | {"PYTHONPATH": IMPORT_PATH} | placed
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    if mount == "open":
        assert done.stdout == f"{(USER,) * 3} {(USER,) * 3} []\n"
    else:
        assert done.stdout.startswith(
            "only root can use this platform's folders: the job can't run as user 10001\n(0, 0, 0)"
        )
    assert list((public / "model").iterdir()) == []


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KitError, match="user 10001"):
        own([tmp_path / "file" / "model"], USER)
