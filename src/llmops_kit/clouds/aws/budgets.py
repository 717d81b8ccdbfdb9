"""Accounts that have no budgets: where IAM has no access to billing, or an organisation keeps it for itself."""

from typing import Any

from llmops_kit.clouds.aws.errors import denial, find

_LACKS_A_PERMISSION = "because no "  # …identity-based policy allows the action: the caller's own permission is missing


def refusal(budgets: Any, account: str, name: str) -> str:
    """Returns AWS's words if an account has no budgets; empty if it has, or if the caller alone lacks the permission.

    https://repost.aws/knowledge-center/iam-billing-access: IAM has no access to billing until root activates it.

    Args:
        budgets: a client of AWS Budgets.
        account: its id.
        name: of any budget.
    """
    words = denial(find)(budgets.describe_budget, AccountId=account, BudgetName=name)
    return "" if _LACKS_A_PERMISSION in words else words
