"""A stack in an account that has no budgets."""

from tests.emulated.aws.conftest import MakeStack
from tests.support.clouds.aws import Account


def test_an_account_without_budgets_is_deployed_with_a_warning(account: Account, make: MakeStack) -> None:
    stack = make("unbilled", deploy=False)
    account.fault("no_budgets")
    said = stack.up()
    assert "this stack has no budget" in said
    assert "access to billing is not activated" in said
    assert "llmops:aws.budget.monthly_usd: 0" in said
    assert not [name for name in account.inventory() if name.startswith("budget ")]
    account.clear_faults()
    assert stack.changes() == {"budget": "create"}, "once the account has budgets"
