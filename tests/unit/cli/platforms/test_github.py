"""Subjects of GitHub's tokens, with the ids of owner and repository and without."""

import pytest

from llmops_kit.cli.platforms.github import GithubRepository, contexts, without_ids
from llmops_kit.core.errors import KitError

MAIN, PULL_REQUEST = "ref:refs/heads/main", "pull_request"


@pytest.mark.parametrize(
    ("text", "by_name", "subjects"),
    [
        ("acme/ci", False, ["repo:acme/ci:pull_request"]),
        ("acme@11/ci@22", False, ["repo:acme@11/ci@22:pull_request"]),
        ("acme@11/ci@22", True, ["repo:acme@11/ci@22:pull_request", "repo:acme/ci:pull_request"]),
    ],
)
def test_a_repository_is_trusted_by_its_ids_alone_unless_asked_otherwise(
    text: str, by_name: bool, subjects: list[str]
) -> None:
    repository = GithubRepository.parse(text, by_name)
    assert repository.path == "acme/ci", "names of roles and identities stay, whatever the form"
    assert repository.subjects([PULL_REQUEST]) == subjects
    assert bool(repository.note) == (text == "acme/ci")


@pytest.mark.parametrize(
    "text",
    [
        *("acme", "acme/ci/x", "acme@11/ci", "acme/ci@22", "acme@*/ci@*", "acme@/ci@", "acme@0/ci@22", "acme@a/ci@b"),
        *("*/ci", "acme/*", "acme@11/ci@22:ref", "acme@11/ci@22\n", ""),
    ],
)
def test_what_names_no_single_repository_is_refused(text: str) -> None:
    with pytest.raises(KitError, match="is not a repository") as refused:
        GithubRepository.parse(text, by_name=True)
    assert refused.value.where == "--github"


def test_only_the_ids_of_a_subject_are_taken_away() -> None:
    branch = "ref:refs/heads/x@1/y@2"
    assert without_ids(f"repo:acme@11/ci@22:{branch}") == f"repo:acme/ci:{branch}"
    for other in ("repo:acme@11/ci:pull_request", f"repo:acme/ci:{branch}", "repo:acme/*"):
        assert without_ids(other) == other


def test_the_branch_deploys_and_pull_requests_preview() -> None:
    allowed = {kind: [*named.values()] for kind, named in contexts("main").items()}
    assert allowed == {"preview": [PULL_REQUEST, MAIN], "deploy": [MAIN], "promote": ["environment:promote"]}
