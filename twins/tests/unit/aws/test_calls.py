"""An answer that refuses a call."""

from llmops_twins.aws.calls import AwsApiError, not_judged


def test_a_refusal_is_the_callers_fault_unless_it_says_otherwise() -> None:
    """botocore repeats what has a 5xx status."""
    assert AwsApiError("ValidationException", "no").status == 400
    assert AwsApiError("ThrottlingException", "later", status=429).status == 429
    assert 400 <= not_judged("metric math").status < 500
