"""`llmops doctor --github` against a stand-in for GitHub's API, with GitHub's published answers."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmops_kit.cli.cli import app
from llmops_kit.cli.platforms.github_api import GithubApi, repository_here
from llmops_kit.core.errors import KitError
from tests.support.servers.github_stand_in import TOKEN, GithubStandIn
from tests.support.servers.http_servers import serving

ENVIRONMENT = "/environments/{environment_name}"
POLICIES = f"{ENVIRONMENT}/deployment-branch-policies"
SUBJECT, RULES = "/actions/oidc/customization/sub", "/rules/branches/{branch}"
BRANCH, PROTECTION = "/branches/{branch}", "/branches/{branch}/protection"
WITH_IDS, BY_NAME = "octocat@1/Hello-World@1296269", "octocat/Hello-World"
# The form of `parameters` in the schema of that rule.
REVIEWED = {"type": "pull_request", "parameters": {"required_approving_review_count": 1}}
MAIN = {"total_count": 1, "branch_policies": [{"id": 361472, "name": "main"}]}

Rows = dict[str, dict[str, str]]
Doctor = Callable[..., tuple[int, Rows]]


@pytest.fixture
def github() -> Iterator[GithubStandIn]:
    with serving(GithubStandIn()) as server:
        yield server


@pytest.fixture
def doctor(github: GithubStandIn, tmp_path: Path) -> Doctor:
    """Run the command; its exit code and rows."""

    def run(*arguments: str, **environ: str) -> tuple[int, Rows]:
        env = {"GITHUB_API_URL": github.url, "GH_TOKEN": TOKEN, "GITHUB_TOKEN": "", "GITHUB_REPOSITORY": ""} | environ
        words = ["--cwd", str(tmp_path), "doctor", "--github", "--json", *arguments]
        answer = CliRunner().invoke(app, words, env=env)
        assert TOKEN not in answer.output
        if answer.exception and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return answer.exit_code, {row["check"]: row for row in json.loads(answer.output)}

    return run


def protect(github: GithubStandIn) -> None:
    """Settings as docs/how-to/ci.md asks for them."""
    environment = github.settings[ENVIRONMENT] | {"name": "promote", "can_admins_bypass": False}
    environment["protection_rules"][1]["prevent_self_review"] = True
    prefix = {"use_default": True, "use_immutable_subject": True, "sub_claim_prefix": f"repo:{WITH_IDS}"}
    github.settings |= {ENVIRONMENT: environment, POLICIES: dict(MAIN), SUBJECT: prefix, RULES: [REVIEWED]}


def states(rows: Rows) -> dict[str, str]:
    return {name: row["state"] for name, row in rows.items()}


@pytest.mark.scorecard("github-settings")
def test_a_protected_repository_passes_and_githubs_example_does_not(github: GithubStandIn, doctor: Doctor) -> None:
    code, rows = doctor(WITH_IDS)
    assert code == 1
    assert states(rows) == {
        "repository": "ok",
        "environment promote": "ok",
        "reviewers": "ok",
        "self-review": "missing",
        "administrators": "unknown",  # the example lacks the field
        "deployment branches": "missing",
        "token subject": "unknown",  # the example says neither form
        "branch": "missing",
    }
    assert rows["deployment branches"]["found"] == "branch release/*, branch main"
    assert rows["reviewers"]["found"] == "octocat, justice-league"
    assert all(row["fix"] for row in rows.values() if row["state"] != "ok")
    protect(github)
    code, rows = doctor(WITH_IDS)
    assert code == 0, rows
    assert set(states(rows).values()) == {"ok"}


@pytest.mark.scorecard("github-settings")
@pytest.mark.parametrize(
    ("template", "change", "check", "state"),
    [
        (ENVIRONMENT, {"protection_rules": []}, "reviewers", "missing"),
        (ENVIRONMENT, {"protection_rules": [{"type": "required_reviewers", "reviewers": []}]}, "reviewers", "missing"),
        (ENVIRONMENT, {"can_admins_bypass": True}, "administrators", "missing"),
        (ENVIRONMENT, {"deployment_branch_policy": None}, "deployment branches", "missing"),
        (POLICIES, {"branch_policies": []}, "deployment branches", "missing"),
        (POLICIES, {"branch_policies": [{"name": "main", "type": "tag"}]}, "deployment branches", "missing"),
        (POLICIES, {"branch_policies": [{"name": "ma*", "type": "branch"}]}, "deployment branches", "missing"),
        (SUBJECT, {"use_default": False, "include_claim_keys": ["job_workflow_ref"]}, "token subject", "missing"),
        (SUBJECT, {"use_default": False, "include_claim_keys": ["repo", "context"]}, "token subject", "ok"),
        (ENVIRONMENT, {"protection_rules": "none"}, "environment promote", "unknown"),
    ],
)
def test_each_weak_setting_is_found(
    github: GithubStandIn, doctor: Doctor, template: str, change: dict[str, Any], check: str, state: str
) -> None:
    protect(github)
    github.settings[template] |= change
    code, rows = doctor(WITH_IDS)
    assert (code, rows[check]["state"]) == (int(state != "ok"), state)


def test_a_missing_environment_is_said_once(github: GithubStandIn, doctor: Doctor) -> None:
    protect(github)
    github.environments = {"staging"}
    code, rows = doctor(WITH_IDS)
    assert (code, rows["environment promote"]["state"]) == (1, "missing")
    assert "deployment branches" not in rows


@pytest.mark.parametrize(("protected", "state"), [(True, "note"), (False, "missing")])
def test_protected_branches_as_a_policy_allow_all_while_none_is_protected(
    github: GithubStandIn, doctor: Doctor, protected: bool, state: str
) -> None:
    protect(github)
    github.settings[ENVIRONMENT]["deployment_branch_policy"] = {
        "protected_branches": True,
        "custom_branch_policies": False,
    }
    github.settings[BRANCH]["protected"] = protected
    assert doctor(WITH_IDS)[1]["deployment branches"]["state"] == state


@pytest.mark.parametrize(
    ("named", "found", "state", "fix"),
    [
        (WITH_IDS, {"sub_claim_prefix": f"repo:{WITH_IDS}"}, "ok", ""),
        (WITH_IDS, {"sub_claim_prefix": f"repo:{WITH_IDS}", "use_immutable_subject": False}, "ok", ""),
        (WITH_IDS, {"use_immutable_subject": True}, "ok", ""),
        ("", {"sub_claim_prefix": f"repo:{WITH_IDS}"}, "ok", ""),
        (BY_NAME, {"sub_claim_prefix": f"repo:{WITH_IDS}"}, "missing", f"--github {WITH_IDS}"),
        (BY_NAME.lower(), {"sub_claim_prefix": f"repo:{BY_NAME}"}, "missing", f"--github {BY_NAME}"),
        (BY_NAME, {"sub_claim_prefix": f"repo:{BY_NAME}"}, "note", f"--github {WITH_IDS}"),
        (WITH_IDS, {"sub_claim_prefix": f"repo:{BY_NAME}"}, "note", f"--github {WITH_IDS}"),
        ("", {"use_immutable_subject": False}, "note", f"--github {WITH_IDS}"),
        (WITH_IDS, {}, "unknown", "sign-in"),
    ],
)
def test_a_subject_is_compared_with_what_bootstrap_accepts(
    github: GithubStandIn, doctor: Doctor, named: str, found: dict[str, Any], state: str, fix: str
) -> None:
    protect(github)
    github.settings[SUBJECT] = {"use_default": True} | found
    row = doctor(*filter(None, [named]), GITHUB_REPOSITORY=BY_NAME)[1]["token subject"]
    assert row["state"] == state
    assert fix in row["fix"]


@pytest.mark.parametrize(
    ("rules", "protected", "protection", "denied", "state"),
    [
        ([REVIEWED], False, None, "", "ok"),
        ([], True, None, "", "ok"),
        ([], True, {"required_pull_request_reviews": None}, "", "missing"),
        ([], True, "Branch not protected", "", "missing"),
        ([], True, "Not Found", "", "unknown"),
        ([], True, None, "administration=read", "unknown"),
        ([], False, None, "administration=read", "missing"),
        ([{"type": "pull_request", "parameters": {"required_approving_review_count": 0}}], False, None, "", "missing"),
    ],
)
def test_a_branch_needs_reviewed_pull_requests_by_a_ruleset_or_a_classic_rule(
    github: GithubStandIn, doctor: Doctor, rules: list[Any], protected: bool, protection: Any, denied: str, state: str
) -> None:
    protect(github)
    github.settings[RULES] = rules
    github.settings[BRANCH]["protected"] = protected
    github.settings[PROTECTION] = protection or github.settings[PROTECTION]
    github.denied = {denied}
    row = doctor(WITH_IDS)[1]["branch"]
    assert row["state"] == state
    assert not denied or state == "missing" or denied in row["fix"]


def test_another_branch_is_checked_if_it_deploys(github: GithubStandIn, doctor: Doctor) -> None:
    protect(github)
    code, rows = doctor(WITH_IDS, "--branch", "release/1")
    assert (code, rows["deployment branches"]["state"], rows["branch"]["state"]) == (1, "missing", "ok")
    assert f"/repos/{BY_NAME}/rules/branches/release%2F1" in github.asked


@pytest.mark.scorecard("github-settings")
def test_somebody_elses_repository_is_not_checked(github: GithubStandIn, doctor: Doctor) -> None:
    """Neither one that the token may not see, nor one that has taken over the name."""
    protect(github)
    code, rows = doctor("monalisa/my-repo")
    assert code == 1
    assert set(states(rows).values()) == {"unknown"}
    assert all("404" in row["found"] and "Settings" in row["fix"] for row in rows.values())
    code, rows = doctor("octocat@7/Hello-World@8")
    assert (code, rows["repository"]["state"], rows["token subject"]["state"]) == (1, "missing", "missing")
    assert WITH_IDS in rows["repository"]["found"]


def test_a_renamed_repository_is_named(github: GithubStandIn, doctor: Doctor) -> None:
    github.settings[""] = 301
    code, rows = doctor(BY_NAME)
    assert code == 1
    assert all("renamed" in row["fix"] for row in rows.values())


@pytest.mark.scorecard("github-settings")
def test_what_can_not_be_read_is_said_with_the_permission_and_the_page(github: GithubStandIn, doctor: Doctor) -> None:
    protect(github)
    github.denied = {"actions=read"}
    code, rows = doctor(WITH_IDS)
    unread = {"environment promote", "deployment branches", "token subject"}
    assert (code, {name for name, state in states(rows).items() if state == "unknown"}) == (1, unread)
    assert all("actions=read" in rows[name]["fix"] and "Settings" in rows[name]["fix"] for name in unread)


def test_without_a_token_nothing_is_asked(github: GithubStandIn, doctor: Doctor) -> None:
    code, rows = doctor(WITH_IDS, GH_TOKEN="")
    assert (code, github.asked) == (1, [])
    assert len(rows) == 4
    assert all("$GH_TOKEN" in row["found"] and "Settings" in row["fix"] for row in rows.values())


def test_a_wrong_token_is_not_repeated(doctor: Doctor) -> None:
    code, rows = doctor(WITH_IDS, GH_TOKEN="", GITHUB_TOKEN="ghp_wrong")
    assert code == 1
    assert all("401" in row["found"] and "expired" in row["fix"] for row in rows.values())
    assert "ghp_wrong" not in json.dumps(rows)


@pytest.mark.parametrize("token", ["ghp_a\nHost: else", "ghp_ä"])
def test_a_token_that_can_not_be_one_is_refused_and_not_repeated(doctor: Doctor, token: str) -> None:
    with pytest.raises(KitError) as refused:
        doctor(WITH_IDS, GH_TOKEN=token)
    assert "ghp" not in f"{refused.value} {refused.value.fix}"
    assert "ghp" not in repr(GithubApi("https://api.github.com", "ghp_a"))


def test_a_token_goes_to_loopback_or_over_https_only(doctor: Doctor) -> None:
    for url in ("http://example.com", "https://example.com:port"):
        with pytest.raises(KitError, match="address") as refused:
            doctor(WITH_IDS, GITHUB_API_URL=url)
        assert "https" in refused.value.fix


def test_an_api_that_does_not_answer_leaves_everything_unchecked(doctor: Doctor) -> None:
    code, rows = doctor(WITH_IDS, GITHUB_API_URL="http://127.0.0.1:1")
    assert code == 1
    assert set(states(rows).values()) == {"unknown"}


@pytest.mark.parametrize(
    ("remote", "host", "found"),
    [
        ("https://github.com/acme/assistant.git", "github.com", "acme/assistant"),
        ("https://me:secret@github.com/acme/assistant", "github.com", "acme/assistant"),
        ("git@github.com:acme/assistant.git", "github.com", "acme/assistant"),
        ("ssh://git@git.acme.example:2222/acme/assistant.js.git", "git.acme.example", "acme/assistant.js"),
        ("https://me:secret@elsewhere.example/acme/assistant.git", "github.com", ""),
        ("https://github.com.elsewhere.example/acme/assistant.git", "github.com", ""),
        ("", "github.com", ""),
    ],
)
def test_a_repository_is_found_by_gits_remote(tmp_path: Path, remote: str, host: str, found: str) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    if remote:
        subprocess.run(["git", "remote", "add", "origin", remote], cwd=tmp_path, check=True)
    if found:
        assert repository_here(tmp_path, host, {}) == found
    else:
        with pytest.raises(KitError) as refused:
            repository_here(tmp_path, host, {})
        assert "secret" not in f"{refused.value} {refused.value.fix}"
    assert repository_here(tmp_path, host, {"GITHUB_REPOSITORY": "acme/named"}) == "acme/named"


def test_hosts_of_repositories_follow_the_apis_address() -> None:
    addresses = {"": "github.com", "https://git.acme.example/api/v3": "git.acme.example"}
    assert {url: GithubApi.of({"GITHUB_API_URL": url}).host for url in addresses} == addresses


def test_a_repository_without_github_is_a_wrong_command_line() -> None:
    assert CliRunner().invoke(app, ["doctor", BY_NAME]).exit_code == 2
    assert CliRunner().invoke(app, ["doctor", "--branch", "main"]).exit_code == 2
