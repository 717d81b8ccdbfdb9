"""Sends OpenAI chat requests to endpoints on SageMaker: for a whole answer, a stream, or by objects in S3.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
"""

import base64
import json
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, ReadTimeoutError
from urllib3.exceptions import HTTPError

from llmops_kit.cli.chat_http import PASSING, events
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.objects_s3 import S3Objects
from llmops_kit.clouds.aws.errors import error_code, error_message, explained, is_missing
from llmops_kit.core.errors import BusyError, KitError
from llmops_kit.core.layout import async_input_key

_JSON = {"ContentType": "application/json", "Accept": "application/json"}
_POLL_SECONDS = 0.5
_LONGEST_SECONDS = 3600  # SageMaker's limit for an answer of an asynchronous endpoint
_LOOK = "`llmops status` shows the endpoint, `llmops logs` its output"

_HOST = "sagemaker.amazonaws.com"
_PREFIX = "sagemaker-api-key-"
_SERVICE = "sagemaker"


def ask(clients: AwsClients, endpoint: str, name: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Sends a chat request; yields the answer, or its chunks as they come if `request["stream"]` is true.

    Closing the iterator closes the connection, which stops the generation.

    Args:
        clients: of the stack's account.
        endpoint: its name in the stack.
        name: its name on SageMaker.
        request: the body of /v1/chat/completions.

    Raises:
        BusyError: it accepts no request at the moment.
        KitError: any other error of AWS, or of the server in the container.
    """
    runtime = clients("sagemaker-runtime")
    body = json.dumps(request).encode()
    with _in_words(endpoint):
        if not request.get("stream"):
            answer = runtime.invoke_endpoint(EndpointName=name, Body=body, **_JSON)
            yield json.loads(answer["Body"].read())
            return
        answer = runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=body, **_JSON)
        stream = answer["Body"]
        try:
            yield from events(f"endpoint {endpoint}", _lines(part["PayloadPart"]["Bytes"] for part in stream))
        finally:
            stream.close()


def ask_by_objects(
    clients: AwsClients, bucket: S3Objects, endpoint: str, name: str, request: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Puts a chat request into the bucket of runs, and waits for the object of the answer or of the failure.

    The answer is one object, so a caller who asks for a stream gets it as a single chunk.

    Args:
        clients: of the stack's account.
        bucket: of runs.
        endpoint: its name in the stack.
        name: its name on SageMaker.
        request: the body of /v1/chat/completions.

    Raises:
        KitError: an error of AWS, or of the server in the container.
    """
    key = async_input_key(endpoint, uuid.uuid4().hex)
    bucket.put(key, json.dumps({**request, "stream": False}).encode())
    with _in_words(endpoint):
        answer = clients("sagemaker-runtime").invoke_endpoint_async(
            EndpointName=name, InputLocation=f"{bucket.url}/{key}", **_JSON
        )
    whole = json.loads(_wait_for_object(bucket, endpoint, answer["OutputLocation"], answer.get("FailureLocation", "")))
    if request.get("stream"):
        choices = [{**choice, "delta": choice["message"]} for choice in whole["choices"]]
        yield {**whole, "object": "chat.completion.chunk", "choices": choices}
    else:
        yield whole


def bearer_token(clients: AwsClients, hours: float) -> str:
    """Returns a token that lets its bearer call endpoints as the caller: a signed request for CallWithBearerToken.

    https://docs.aws.amazon.com/sagemaker/latest/dg/realtime-endpoints-openai-compatible.html

    Made on this machine, in the form of `sagemaker.core.token_generator`. It ends with the credentials that signed it,
    if they end sooner. Its user needs sagemaker:CallWithBearerToken and, on the endpoint, sagemaker:InvokeEndpoint.

    Args:
        clients: of the endpoint's account and region.
        hours: how long it is valid; AWS takes 12 at most.

    Raises:
        KitError: there are no credentials.
    """
    credentials = clients.credentials
    if credentials is None:
        raise KitError("there are no AWS credentials to sign a token with", fix="`aws sso login` or $AWS_PROFILE")
    request = AWSRequest(
        method="POST", url=f"https://{_HOST}/", headers={"host": _HOST}, params={"Action": "CallWithBearerToken"}
    )
    signer = SigV4QueryAuth(credentials, _SERVICE, clients.caller.region, expires=int(hours * 3600))
    signer.add_auth(request)
    signed = f"{str(request.url).removeprefix('https://')}&Version=1"
    return _PREFIX + base64.b64encode(signed.encode()).decode()


def openai_url(clients: AwsClients, endpoint: str) -> str:
    """Returns the base URL of an endpoint for OpenAI clients, which add `/chat/completions`.

    Args:
        clients: of the endpoint's account and region.
        endpoint: its name on SageMaker.
    """
    return f"{clients.caller.runtime_url}/endpoints/{endpoint}/openai/v1"


def _wait_for_object(bucket: S3Objects, endpoint: str, output: str, failure: str) -> bytes:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        if (found := bucket.find(_key(output))) is not None:
            return found
        if failure and (found := bucket.find(_key(failure))) is not None:
            raise KitError(f"failed: {_words(found.decode(errors='replace'))}", where=f"endpoint {endpoint}", fix=_LOOK)
        time.sleep(_POLL_SECONDS)
    raise KitError(
        f"gave no answer for {_LONGEST_SECONDS // 60} minutes",
        where=f"endpoint {endpoint}",
        fix=f"{_LOOK}; the answer would be {output}",
    )


def _key(uri: str) -> str:
    return urlsplit(uri).path.strip("/")


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the lines of a body that arrives in parts, which may end anywhere."""
    rest = b""
    for part in parts:
        *whole, rest = (rest + part).split(b"\n")
        yield from whole
    if rest:
        yield rest


@contextmanager
def _in_words(endpoint: str) -> Iterator[None]:
    where = f"endpoint {endpoint}"
    with explained(where):
        try:
            yield
        except ReadTimeoutError as e:
            raise KitError("gave no answer in time", where=where, fix=_LOOK) from e
        except HTTPError as e:  # botocore doesn't translate errors that occur while a stream is read
            raise KitError(
                f"the connection broke in the middle of the answer: {e}", where=where, fix="ask again"
            ) from e
        except ClientError as e:
            if found := _refusal(e, where):
                raise found from e
            raise


def _refusal(error: ClientError, where: str) -> KitError | None:
    """Returns the error for a refused invocation; None for refusals that any AWS call may get."""
    code, said = error_code(error), error_message(error)
    if code == "ModelError":
        status = error.response.get("OriginalStatusCode", 500)
        words = f"answers {status}: {_words(str(error.response.get('OriginalMessage', '') or said))}"
        if status in PASSING:
            return BusyError(words, where=where, fix="try again in a moment")
        return KitError(words, where=where, fix=_LOOK)
    if code in ("ModelStreamError", "InternalStreamFailure"):
        return KitError(f"broke off: {_words(said)}", where=where, fix="see `llmops logs`")
    if code in ("ThrottlingException", "ServiceUnavailable", "ModelNotReadyException"):
        return BusyError(f"accepts no request at the moment: {said}", where=where, fix="try again in a moment")
    if is_missing(error):
        what = "there is no such endpoint on SageMaker: it was taken down or deleted"
        return KitError(what, where=where, fix="`llmops up` restores it")
    return None


def _words(text: str) -> str:
    """Returns the message of an error in OpenAI's form, or the text itself."""
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return text.strip()[:500] or "no reason given"
