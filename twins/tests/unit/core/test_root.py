"""The root secret: made once, for its owner alone, and the parent of keys that have nothing to do with each other."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmops_kit.core.errors import KitError
from llmops_twins.core import root, web_identity
from tests.support.other_users import NOBODY, needs_root


def test_it_is_made_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: root.make(tmp_path / "twin"), range(32)))
    secret = tmp_path / "twin" / root.ROOT_FILE
    assert [path.name for path in (tmp_path / "twin").iterdir()] == [root.ROOT_FILE]
    assert (stat.S_IMODE(secret.stat().st_mode), stat.S_IMODE(secret.parent.stat().st_mode)) == (0o600, 0o700)
    first = root.key(tmp_path / "twin", "a")
    root.make(tmp_path / "twin")
    assert root.key(tmp_path / "twin", "a") == first
    assert len(first) == 40
    assert first != root.key(tmp_path / "twin", "b") != secret.read_text()
    assert root.opens(tmp_path / "twin", "a", first)
    assert not root.opens(tmp_path / "twin", "b", first)
    assert not root.opens(tmp_path / "twin", "a", "ö")


def test_a_new_secret_is_taken_up(tmp_path: Path) -> None:
    root.make(tmp_path)
    first = root.key(tmp_path, "a")
    (tmp_path / root.ROOT_FILE).unlink()
    with pytest.raises(KitError, match="never started"):
        root.key(tmp_path, "a")
    root.make(tmp_path)
    assert root.key(tmp_path, "a") != first


@pytest.mark.vulnerability(3)
def test_vulnerability_3_a_secret_that_others_can_read_is_none(tmp_path: Path) -> None:
    root.make(tmp_path)
    (tmp_path / root.ROOT_FILE).chmod(0o640)
    with pytest.raises(KitError, match="not its owner's alone"):
        root.make(tmp_path)


@needs_root
@pytest.mark.vulnerability(3)
def test_vulnerability_3_a_folder_or_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    """Whoever made the folder first could know what lies in it."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    with pytest.raises(KitError, match="belongs to another user"):
        root.make(theirs)
    mine = tmp_path / "mine"
    root.make(mine)
    os.chown(mine / root.ROOT_FILE, NOBODY, NOBODY)
    with pytest.raises(KitError, match="not its owner's alone"):
        root.key(mine, "a")


def test_web_identities_are_believed_by_their_own_twin_for_their_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        root.make(tmp_path / name)
    token = web_identity.issue(tmp_path / "one", {"iss": "https://ci", "sub": "repo:us"})
    claims = web_identity.claims_of(tmp_path / "one", token)
    assert (claims["sub"], claims["exp"] - claims["iat"]) == ("repo:us", 300)
    header, _, signature = token.split(".")
    forged = f"{header}.eyJzdWIiOiAicmVwbzp0aGVtIiwgImV4cCI6IDQxMDI0NDQ4MDB9.{signature}"
    for home, wrong in (("two", token), ("one", forged), ("one", f"{header}..."), ("one", ""), ("one", f"{token}ö")):
        with pytest.raises(ValueError, match="this twin did not sign it"):
            web_identity.claims_of(tmp_path / home, wrong)
    with pytest.raises(TimeoutError):
        web_identity.claims_of(tmp_path / "one", web_identity.issue(tmp_path / "one", {"exp": 1}))


GITHUB = {
    "iss": "https://token.actions.githubusercontent.com",
    "repository": "octocat/my-repo",
    "repository_owner_id": "123456",
    "repository_id": "456789",
    "ref": "refs/heads/main",
}
IDS = "repo:octocat@123456/my-repo@456789"


@pytest.mark.parametrize(
    ("claims", "subject"),
    [
        (GITHUB, f"{IDS}:ref:refs/heads/main"),
        (GITHUB | {"event_name": "pull_request"}, f"{IDS}:pull_request"),
        (GITHUB | {"event_name": "pull_request", "environment": "promote"}, f"{IDS}:environment:promote"),
        (GITHUB | {"use_immutable_subject": False}, "repo:octocat/my-repo:ref:refs/heads/main"),
        (GITHUB | {"sub": "repo:us"}, "repo:us"),
        (GITHUB | {"iss": "https://ci"}, None),
    ],
)
def test_a_workflows_subject_is_derived_as_github_derives_it(claims: dict[str, object], subject: str | None) -> None:
    made = web_identity.with_subject(claims)
    assert made.get("sub") == subject
    assert "use_immutable_subject" not in made
