"""Checks a repository's settings on GitHub that decide who can sign and deploy.

A setting that can't be read is `unknown`: the line names the permission that the token lacks and where to look by hand.
Fields and permissions are those of https://docs.github.com/rest/deployments/environments,
https://docs.github.com/rest/deployments/branch-policies, https://docs.github.com/rest/actions/oidc,
https://docs.github.com/rest/repos/rules and https://docs.github.com/rest/branches/branch-protection. GitHub's schema
doesn't list `can_admins_bypass`, which its answers have.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmops_kit.cli.doctor import Diagnosis
from llmops_kit.cli.platforms.bootstrap_steps import PROMOTE_ENVIRONMENT
from llmops_kit.cli.platforms.github import GithubRepository
from llmops_kit.cli.platforms.github_api import GithubAnswer, GithubApi, repository_here
from llmops_kit.core.errors import KitError

_ENVIRONMENT_PAGE = f"Settings, Environments, {PROMOTE_ENVIRONMENT}"
_OIDC_PAGE = "Settings, Actions, OIDC"
_RULES_PAGE = "Settings, Rules, Rulesets, and Settings, Branches"
_UNPROTECTED = "Branch not protected"
"""GitHub's message where no classic rule protects a branch; to those who may not read the rules it says `Not Found`."""
_DEFAULT_CLAIMS = ["repo", "context"]
_TOKEN = "set $GH_TOKEN to a token with the repository permissions Metadata, Contents, Actions, Administration: read"


class _UnreadableError(Exception):
    """A setting that can't be read.

    Args:
        why: the reason.
        way_out: what makes it readable; empty: nothing known.
    """

    def __init__(self, why: str, way_out: str = "") -> None:
        super().__init__(why)
        self.why, self.way_out = why, way_out


@dataclass(frozen=True)
class _Repository:
    api: GithubApi
    given: GithubRepository | None
    """The repository as the caller named it, as for `bootstrap`; None: found in the environment."""
    path: str
    branch: str
    with_ids: str = ""
    """OWNER@ID/REPO@ID; empty until GitHub has told it."""
    answers: dict[str, GithubAnswer] = field(default_factory=dict)
    """By path below the repository's: several checks read the same one."""

    def read(self, below: str, permission: str, *, absent: str | None = None) -> Any:
        """Returns the answer for a path below the repository's; None for a 404 that `absent` allows.

        Args:
            below: the path, which starts with a slash, or is empty.
            permission: that the request needs, by GitHub's documentation.
            absent: part of a 404's message that says that the thing doesn't exist; empty: any message; None: each
                404 is an error.

        Raises:
            _UnreadableError: any other status than 200.
            KitError: no usable answer.
        """
        if below not in self.answers:
            self.answers[below] = self.api.get(f"/repos/{self.path}{below}")
        answer = self.answers[below]
        if answer.status == 200 or (answer.status == 404 and absent is not None and absent in answer.message):
            return answer.body
        why = f"GitHub answers {answer.status}" + (f": {answer.message}" if answer.message else "")
        if answer.status == 401:
            raise _UnreadableError(why, "the token is wrong, expired or revoked: set another one in $GH_TOKEN")
        if answer.status in (403, 404):
            raise _UnreadableError(why, f"the token needs the permission {answer.permissions or permission}")
        if answer.status in (301, 302, 307, 308):
            raise _UnreadableError(why, "the repository was renamed or transferred: use its present name")
        raise _UnreadableError(why)


def examine_repository(named: str, branch: str, folder: Path, environ: Mapping[str, str]) -> list[Diagnosis]:
    """Checks a repository's settings on GitHub, without changing any.

    Args:
        named: OWNER/REPO or OWNER@ID/REPO@ID, as `bootstrap` got it; empty: $GITHUB_REPOSITORY, or git's remote.
        branch: that may deploy.
        folder: whose git remote counts.
        environ: variables with the token, and the API's address.

    Raises:
        KitError: the repository is not named, or a variable can't be used.
    """
    api = GithubApi.of(environ)
    text = named or repository_here(folder, api.host, environ)
    given = GithubRepository.parse(text, by_name=False)
    repository = _Repository(api, given if named else None, given.path, branch)
    try:
        if not api.token:
            raise _UnreadableError("neither $GH_TOKEN nor $GITHUB_TOKEN is set", _TOKEN)
        repository, row = _identify(repository)
    except (_UnreadableError, KitError) as e:
        return [_unknown(check, e) for check in _CHECKS]
    return [row, *(found for check in _CHECKS for found in _run(check, repository))]


@dataclass(frozen=True)
class _Check:
    name: str
    page: str
    """Of the repository's settings, where to look by hand."""
    run: Callable[[_Repository], Iterator[Diagnosis]]


def _run(check: _Check, repository: _Repository) -> Iterator[Diagnosis]:
    try:
        yield from check.run(repository)
    except (_UnreadableError, KitError) as e:
        yield _unknown(check, e)
    except (AttributeError, KeyError, TypeError):
        yield _unknown(check, _UnreadableError("GitHub's answer has another form than documented"))


def _unknown(check: _Check, error: _UnreadableError | KitError) -> Diagnosis:
    why, way_out = (error.why, error.way_out) if isinstance(error, _UnreadableError) else (str(error), error.fix)
    by_hand = f"look at the repository's {check.page}"
    return Diagnosis(check.name, "unknown", f"not checked: {why}", f"{way_out}; or {by_hand}" if way_out else by_hand)


def _identify(repository: _Repository) -> tuple[_Repository, Diagnosis]:
    """Returns the repository with its name and ids on GitHub, and whether the given ids are these."""
    found = repository.read("", "metadata=read, if it is yours: to others it does not exist")
    try:
        owner, name = found["owner"], found["name"]
        path, with_ids = f"{owner['login']}/{name}", f"{owner['login']}@{owner['id']}/{name}@{found['id']}"
    except (KeyError, TypeError) as e:
        raise _UnreadableError("GitHub's answer has another form than documented") from e
    known = _Repository(repository.api, repository.given, path, repository.branch, with_ids)
    given = repository.given.with_ids if repository.given else ""
    if given and given != with_ids:
        return known, Diagnosis(
            "repository",
            "missing",
            f"GitHub knows {with_ids}, not {given}",
            "somebody else may hold the name now; if it is yours, run `llmops bootstrap` with its present ids",
        )
    return known, Diagnosis("repository", "ok", with_ids)


def _environment(repository: _Repository) -> Iterator[Diagnosis]:
    found = repository.read(f"/environments/{PROMOTE_ENVIRONMENT}", "actions=read", absent="")
    name = f"environment {PROMOTE_ENVIRONMENT}"
    if found is None:
        fix = f"create it ({_ENVIRONMENT_PAGE}): a workflow that names it would create it without any rules"
        yield Diagnosis(name, "missing", "does not exist", fix)
        return
    yield Diagnosis(name, "ok", "exists")
    yield from _reviewers(found)
    yield _administrators(found)


def _reviewers(environment: Any) -> Iterator[Diagnosis]:
    rules = [rule for rule in environment["protection_rules"] if rule["type"] == "required_reviewers"]
    people = [each["reviewer"] for rule in rules for each in rule["reviewers"]]
    if not people:
        fix = f"name who approves promotions ({_ENVIRONMENT_PAGE}, Required reviewers)"
        yield Diagnosis("reviewers", "missing", "nobody has to approve a promotion", fix)
        return
    yield Diagnosis("reviewers", "ok", ", ".join(str(p.get("login") or p.get("slug") or p.get("id")) for p in people))
    if all(rule.get("prevent_self_review") is True for rule in rules):
        yield Diagnosis("self-review", "ok", "prevented")
    else:
        fix = f"turn on Prevent self-review ({_ENVIRONMENT_PAGE})"
        yield Diagnosis("self-review", "missing", "whoever starts a promotion can approve it", fix)


def _administrators(environment: Any) -> Diagnosis:
    bypass = environment.get("can_admins_bypass")
    if bypass is None:
        fix = f"look at the repository's {_ENVIRONMENT_PAGE}: Allow administrators to bypass"
        return Diagnosis("administrators", "unknown", "not checked: GitHub does not say whether they bypass it", fix)
    if bypass is False:
        return Diagnosis("administrators", "ok", "can't bypass the environment's rules")
    fix = f"turn off Allow administrators to bypass ({_ENVIRONMENT_PAGE})"
    return Diagnosis("administrators", "missing", "can bypass the environment's rules", fix)


def _deployment_branches(repository: _Repository) -> Iterator[Diagnosis]:
    name, base = "deployment branches", f"/environments/{PROMOTE_ENVIRONMENT}"
    environment = repository.read(base, "actions=read", absent="")
    if environment is None:
        return  # reported by the environment's check
    policy, main = environment["deployment_branch_policy"], repository.branch
    fix = f"select the branch `{main}` alone ({_ENVIRONMENT_PAGE}, Deployment branches and tags, Selected)"
    if policy is None:
        yield Diagnosis(name, "missing", "every branch and tag can start a promotion", fix)
        return
    if policy["protected_branches"]:
        # GitHub allows all branches while none has a protection rule.
        found = repository.read(f"/branches/{quote(main, safe='')}", "contents=read", absent="")
        protected = found is not None and found["protected"] is True
        words = "every protected branch" if protected else f"every branch, while `{main}` is not protected"
        yield Diagnosis(name, "note" if protected else "missing", words, fix)
        return
    found = repository.read(f"{base}/deployment-branch-policies?per_page=100", "actions=read")
    patterns = [(each.get("type", "branch"), each["name"]) for each in found["branch_policies"]]
    if patterns == [("branch", main)]:
        yield Diagnosis(name, "ok", f"{main} alone")
    else:
        words = ", ".join(f"{kind} {pattern}" for kind, pattern in patterns) or "none"
        yield Diagnosis(name, "missing", words, fix)


def _subject(repository: _Repository) -> Iterator[Diagnosis]:
    found = repository.read("/actions/oidc/customization/sub", "actions=read")
    if found["use_default"] is not True and found.get("include_claim_keys") != _DEFAULT_CLAIMS:
        fix = f"use the default template ({_OIDC_PAGE})"
        yield Diagnosis("token subject", "missing", "is customized: no role of `llmops bootstrap` accepts it", fix)
        return
    # `use_immutable_subject` says whether a repository opted in: new ones have ids without. Tokens have the prefix.
    prefix, immutable = found.get("sub_claim_prefix"), found.get("use_immutable_subject")
    if not prefix and immutable is None:
        why = "GitHub does not say which form it has (Enterprise Server: without ids)"
        raise _UnreadableError(why, "the log of a workflow's sign-in shows it")
    yield _subject_form(repository, prefix or f"repo:{repository.with_ids if immutable else repository.path}")


def _subject_form(repository: _Repository, prefix: str) -> Diagnosis:
    """Compares the subject's form with what `bootstrap` accepts for the repository as it was named."""
    name, given = "token subject", repository.given
    by_names = "a free name can be registered by somebody else"
    switch = f"turn on immutable subjects ({_OIDC_PAGE}) and run `llmops bootstrap … --github {repository.with_ids}`"
    accepted = f"repo:{given.with_ids or given.path}" if given else prefix
    if prefix == accepted:
        if "@" in prefix:
            return Diagnosis(name, "ok", f"{prefix}:…")
        return Diagnosis(name, "note", f"{prefix}:…, without ids: {by_names}", switch)
    if given and given.with_ids and prefix == f"repo:{given.path}":
        found = f"{prefix}:…, without ids: accepted only after `llmops bootstrap … --by-name`"
        return Diagnosis(name, "note", found, switch)
    fix = f"llmops bootstrap … --github {prefix.removeprefix('repo:')}"
    return Diagnosis(name, "missing", f"{prefix}:…, which a role for {accepted}:… does not accept", fix)


def _branch(repository: _Repository) -> Iterator[Diagnosis]:
    name, branch = "branch", quote(repository.branch, safe="")
    rules = repository.read(f"/rules/branches/{branch}?per_page=100", "metadata=read")
    reviews = [rule["parameters"] for rule in rules if rule["type"] == "pull_request"]
    approvals = max((each["required_approving_review_count"] for each in reviews), default=0)
    if not approvals:
        found = repository.read(f"/branches/{branch}", "contents=read", absent="")
        if found is not None and found["protected"]:
            protection = repository.read(f"/branches/{branch}/protection", "administration=read", absent=_UNPROTECTED)
            required = (protection or {}).get("required_pull_request_reviews") or {}
            approvals = required.get("required_approving_review_count", 0)
    if approvals:
        yield Diagnosis(
            name, "ok", f"{repository.branch}: changed by pull requests only; approvals required: {approvals}"
        )
    else:
        fix = f"require a pull request with an approval ({_RULES_PAGE}): the branch deploys"
        yield Diagnosis(name, "missing", f"{repository.branch}: no rule requires a reviewed pull request", fix)


_CHECKS = (
    _Check(f"environment {PROMOTE_ENVIRONMENT}", _ENVIRONMENT_PAGE, _environment),
    _Check("deployment branches", _ENVIRONMENT_PAGE, _deployment_branches),
    _Check("token subject", _OIDC_PAGE, _subject),
    _Check("branch", _RULES_PAGE, _branch),
)
