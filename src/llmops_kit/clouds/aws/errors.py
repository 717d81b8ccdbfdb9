"""Turns errors of botocore into KitErrors, or into None for missing resources. Importing this module loads no SDK."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from llmops_kit.core.errors import KitError
from llmops_kit.core.twins import ENDPOINT_VARIABLE, twin_address

USE_TWIN = '`eval "$(llmops twin aws env)"` points every AWS client of this shell at the twin'
USE_AWS = f"unset {ENDPOINT_VARIABLE} and give this shell the credentials of the account"
_CREDENTIALS = ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException")
_VALIDATION = ("ValidationException", "ValidationError")
_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def explained(where: str, fix: str = "") -> Iterator[None]:
    """Turns AWS's errors in the block into KitErrors with AWS's message, the resource and the fix."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, ProfileNotFound

    try:
        yield
    except NoCredentialsError as e:
        login = f"`aws sso login` or $AWS_PROFILE gives them; without an account: {USE_TWIN}"
        raise KitError("there are no AWS credentials", where=where, fix=login) from e
    except ProfileNotFound as e:
        made = "`aws configure sso` creates one; `llmops:aws: {profile: …}` or $AWS_PROFILE names it"
        raise KitError(f"AWS profile {e.kwargs['profile']} does not exist", where="~/.aws/config", fix=made) from e
    except NoRegionError as e:
        raise no_region() from e
    except ClientError as e:
        code, message = error_code(e), error_message(e)
        raise KitError(f"AWS refused {e.operation_name}: {code}: {message}", where=where, fix=fix or _fix(code)) from e
    except BotoCoreError as e:
        twin = twin_address(os.environ)
        raise KitError(
            f"{'the twin' if twin else 'AWS'} can't be reached: {e}",
            where=twin or where,
            fix="`llmops twin aws status` says whether it runs"
            if twin
            else "check the network, then repeat the command",
        ) from e


def find(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
    """Returns the response of a call; None if AWS says that the resource is missing."""
    from botocore.exceptions import ClientError

    try:
        return call(*args, **kwargs)
    except ClientError as e:
        if is_missing(e):
            return None
        raise


def refused(call: Callable[_P, object], *codes: str) -> Callable[_P, bool]:
    """Returns a call as a question: whether AWS refuses it with one of these codes, as delete calls do for what holds
    something, or for lack of a permission; any other error is raised.
    """
    from botocore.exceptions import ClientError

    def asked(*args: _P.args, **kwargs: _P.kwargs) -> bool:
        try:
            call(*args, **kwargs)
        except ClientError as e:
            if error_code(e) in codes or _is_denial(error_code(e)):
                return True
            raise
        return False

    return asked


def denial(call: Callable[_P, object]) -> Callable[_P, str]:
    """Returns a call as a question: AWS's words if it denies the caller access; empty if it does not."""
    from botocore.exceptions import ClientError

    def asked(*args: _P.args, **kwargs: _P.kwargs) -> str:
        try:
            call(*args, **kwargs)
        except ClientError as e:
            if _is_denial(error_code(e)):
                return error_message(e)
            raise
        return ""

    return asked


def is_missing(error: Exception) -> bool:
    """Returns whether AWS says that the resource is missing; some services have no code for it, only various
    messages.
    """
    code, text = error_code(error), error_message(error).lower()
    if code in _VALIDATION:
        return any(words in text for words in ("could not find", "no scalable target found", "not found", "not exist"))
    return code == "404" or "NotFound" in code or code.startswith("NoSuch")


def error_code(error: Exception) -> str:
    """Returns the code of a botocore ClientError, such as `NoSuchKey`."""
    return _part(error, "Code")


def error_message(error: Exception) -> str:
    """Returns the message of a botocore ClientError."""
    return _part(error, "Message")


def no_region() -> KitError:
    """Error for a process that has no region."""
    return KitError(
        "no AWS region is set",
        where="llmops:aws.region, $AWS_REGION",
        fix="`export AWS_REGION=eu-central-1`, set it in the profile, or "
        "`pulumi config set --path llmops:aws.region eu-central-1`",
    )


def _part(error: Exception, name: str) -> str:
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get(name, ""))


def _is_denial(code: str) -> bool:
    return "AccessDenied" in code or "Unauthorized" in code or code == "403"


def _fix(code: str) -> str:
    if code in _CREDENTIALS:
        return "`aws sso login`, or new credentials, then repeat the command"
    if _is_denial(code):
        return "`llmops plan --policy` prints the deployer's permissions"
    if code == "ResourceLimitExceeded":
        return "another instance type, or a higher quota: `llmops plan` says what is allowed, Service Quotas raises it"
    if code in ("ThrottlingException", "TooManyRequestsException"):
        return "AWS throttles requests: repeat the command in a minute"
    return "docs/troubleshooting.md lists AWS's own error texts"
