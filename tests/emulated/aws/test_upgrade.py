"""A stack of an earlier version, whose roles lie at `/`: one update gives it roles on the path of the project."""

from tests.emulated.aws.conftest import MakeStack
from tests.support.clouds.aws import Account
from tests.support.stacks import PROGRAM

EARLIER = """\
from infra.names import CloudNames
from infra.targets.aws.resources import identity

named = CloudNames.of
CloudNames.of = lambda self, thing, *more: named(self, thing.removesuffix("-role"), *more)
identity.role_path = lambda project: "/"

"""
"""What gave roles their names and their path before."""


def test_roles_of_an_earlier_version_are_replaced_by_roles_on_the_path(account: Account, make: MakeStack) -> None:
    stack = make("old", deploy=False)
    (stack.folder / "__main__.py").write_text(EARLIER + PROGRAM)
    stack.up()
    before = stack.outputs()["aws"]["roles"]
    assert all(":role/llmops-old-" in arn for arn in before.values())

    (stack.folder / "__main__.py").write_text(PROGRAM)
    stack.up()
    after = stack.outputs()["aws"]["roles"]
    assert all(":role/llmops-kit/llmops/llmops-old-" in arn for arn in after.values())
    there = {role["Arn"] for role in account.client("iam").list_roles()["Roles"]}
    assert there >= set(after.values())
    assert not there & set(before.values())
