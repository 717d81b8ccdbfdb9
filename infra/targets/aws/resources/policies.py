"""IAM policy documents as JSON, from statements that may hold Outputs.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

from collections.abc import Sequence
from typing import Any

import pulumi

Statement = dict[str, Any]


def document(statements: Sequence[Statement]) -> pulumi.Output[str]:
    """A policy document."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions: Sequence[str], resources: Any, **conditions: Any) -> Statement:
    """Allow actions on resources, under conditions such as `StringEquals={"kms:ViaService": …}`."""
    return _statement("Allow", actions, conditions) | {"Resource": resources}


def grant(principal: dict[str, Any] | str, actions: Sequence[str], resources: Any, **conditions: Any) -> Statement:
    """A resource policy's statement: allow a principal."""
    return allow(actions, resources, **conditions) | {"Principal": principal}


def tls_only(action: str, resources: Any) -> Statement:
    """A resource policy's statement: nobody without TLS."""
    insecure = {"Bool": {"aws:SecureTransport": "false"}}
    return _statement("Deny", [action], insecure) | {"Sid": "TlsOnly", "Principal": "*", "Resource": resources}


def _statement(effect: str, actions: Sequence[str], conditions: dict[str, Any]) -> Statement:
    statement: Statement = {"Effect": effect, "Action": list(actions)}
    return statement | ({"Condition": conditions} if conditions else {})
