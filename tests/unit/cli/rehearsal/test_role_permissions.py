"""Taking an action out of policies, and finding what no step needs."""

from tests.support.clouds.role_permissions import actions_of, first_needs, is_allowed_somewhere, is_needed, without

EXACT = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "*"},
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"},
    ],
}
WIDE = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": "*"}]}


def test_an_action_is_taken_out_of_an_exact_policy() -> None:
    assert actions_of([EXACT]) == {"s3:GetObject", "s3:PutObject", "kms:Decrypt"}
    assert actions_of(without([EXACT], "kms:Decrypt")) == {"s3:GetObject", "s3:PutObject"}
    assert not is_allowed_somewhere(without([EXACT], "s3:PutObject"), "s3:PutObject")
    assert "s3:PutObject" in EXACT["Statement"][0]["Action"], "the policy itself stays"


def test_an_action_is_denied_where_a_wider_one_allows_it() -> None:
    *_, last = without([WIDE], "s3:PutObject")
    assert last["Statement"] == [{"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}]


def test_what_a_report_says_was_needed_first() -> None:
    def access(action: str, allowed: bool = True) -> dict[str, object]:
        return {"role": "training", "action": action, "resource": "*", "allowed": allowed}

    report = {
        "steps": [
            {"id": "up", "accesses": [access("s3:GetObject"), access("s3:PutObject", allowed=False)]},
            {"id": "train", "accesses": [access("s3:GetObject"), access("s3:PutObject")]},
        ]
    }
    assert first_needs(report) == {
        ("training", "s3:GetObject"): ("up", "*"),
        ("training", "s3:PutObject"): ("train", "*"),
    }
    assert is_needed("s3:Get*", ["s3:GetObject"])
    assert not is_needed("s3:List*", ["s3:GetObject"])
