"""Activates the cost allocation tag by which stacks' budgets count."""

from botocore.exceptions import ClientError

from llmops_kit.cli.platforms.aws.bootstrap.steps import AwsSteps
from llmops_kit.clouds.aws.errors import error_code
from llmops_kit.clouds.aws.names import COST_TAG
from llmops_kit.core.errors import KitError

_WHAT = f"cost allocation tag {COST_TAG}"
_ZERO = "until it is active, budgets of stacks read $0"


def cost_allocation_tag(work: AwsSteps) -> None:
    """Activates the cost allocation tag if this account may do so and AWS knows the tag already.

    AWS offers a tag up to 24 hours after the first resource has it, and only to the paying account:
    https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/activating-tags.html
    """
    costs = work.clients("ce")
    try:
        found = costs.list_cost_allocation_tags(TagKeys=[COST_TAG])["CostAllocationTags"]
    except ClientError as error:
        if error_code(error) != "AccessDeniedException":
            raise
        work.keep(_WHAT, f"not this account's to activate, the paying one's of the organisation; {_ZERO}")
        return
    if not found:
        work.keep(_WHAT, f"AWS does not offer it yet: repeat this the day after the first `llmops up`; {_ZERO}")
    elif found[0]["Status"] == "Active":
        work.there(_WHAT)
    else:
        work.change(_WHAT, "Inactive -> Active", lambda: _activate(work))


def _activate(work: AwsSteps) -> None:
    status = [{"TagKey": COST_TAG, "Status": "Active"}]
    answer = work.clients("ce").update_cost_allocation_tags_status(CostAllocationTagsStatus=status)
    for error in answer.get("Errors", []):
        raise KitError(f"AWS did not activate it: {error['Message']} ({error['Code']})", where=_WHAT)
