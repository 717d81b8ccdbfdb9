"""Passes judged calls to moto, so that moto carries out exactly the judged call.

moto determines service, operation, region and parameters of a request by itself: from host, path, User-Agent, target
header, query, form or JSON, whichever it meets first. To prevent a difference from the judged call, moto receives a
request rewritten from the parsed one (`written`), it is routed to the service that was signed for, and it is stopped
before it carries out anything else (`_agree`).
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlencode

from moto.core.authorization import ActionAuthenticatorMixin
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.wire.reading import Reading, request_of

_call: ContextVar[ApiCall] = ContextVar("call")
_SAFE_HEADERS = ("HTTP_ACCEPT", "HTTP_CONTENT_ENCODING", "HTTP_CONTENT_MD5", "HTTP_RANGE", "HTTP_IF_", "HTTP_X_AMZ_")
_UNSAFE_HEADERS = ("HTTP_X_AMZ_SECURITY_TOKEN", "HTTP_X_AMZ_DATE")
_OBJECT_HEADERS = ("HTTP_CACHE_CONTROL", "HTTP_CONTENT_DISPOSITION", "HTTP_CONTENT_LANGUAGE", "HTTP_EXPIRES")
_COPIES = ("CopyObject", "UploadPartCopy")
_OBJECTS = ("PutObject", "UploadPart", "CreateMultipartUpload")
# The operations that moto's S3 knows. It would ignore any other sub-resource: `DELETE /bucket?analytics` would delete
# the bucket.
_S3 = frozenset(
    (
        *("ListBuckets", "HeadBucket", "CreateBucket", "DeleteBucket", "ListObjects", "ListObjectsV2"),
        *("GetObjectLockConfiguration", "PutObjectLockConfiguration", "ListMultipartUploads", "GetBucketLocation"),
        *("GetBucketLifecycle", "GetBucketLifecycleConfiguration", "GetBucketVersioning", "GetBucketPolicyStatus"),
        *("GetBucketPolicy", "GetBucketWebsite", "GetBucketAcl", "GetBucketTagging", "GetBucketLogging"),
        *("GetBucketCors", "GetBucketNotification", "GetBucketNotificationConfiguration", "GetPublicAccessBlock"),
        *("GetBucketAccelerateConfiguration", "GetBucketInventoryConfiguration", "ListBucketInventoryConfigurations"),
        *("ListObjectVersions", "GetBucketEncryption", "GetBucketReplication", "GetBucketOwnershipControls"),
        *("PutBucketVersioning", "PutBucketLifecycle", "PutBucketLifecycleConfiguration", "PutBucketPolicy"),
        *("PutBucketAcl", "PutBucketTagging", "PutBucketWebsite", "PutBucketCors", "PutBucketLogging"),
        *("PutBucketNotification", "PutBucketNotificationConfiguration", "PutBucketAccelerateConfiguration"),
        *("PutPublicAccessBlock", "PutBucketEncryption", "PutBucketReplication", "PutBucketOwnershipControls"),
        *("PutBucketInventoryConfiguration", "DeleteBucketPolicy", "DeleteBucketTagging", "DeleteBucketWebsite"),
        *("DeleteBucketCors", "DeleteBucketLifecycle", "DeletePublicAccessBlock", "DeleteBucketEncryption"),
        *("DeleteBucketReplication", "DeleteBucketOwnershipControls", "DeleteObjects"),
        *("GetObject", "HeadObject", "PutObject", "CopyObject", "DeleteObject", "ListParts", "UploadPart"),
        *("UploadPartCopy", "CreateMultipartUpload", "CompleteMultipartUpload", "AbortMultipartUpload"),
        *("GetObjectAcl", "PutObjectAcl", "GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging"),
        *("GetObjectLegalHold", "PutObjectLegalHold", "PutObjectRetention", "GetObjectAttributes"),
        *("RestoreObject", "SelectObjectContent"),
    )
)


class Moto:
    """Calls moto's backends, one call per thread at a time."""

    def __init__(self) -> None:
        self._app = _Dispatcher(create_backend_app)
        mixin: Any = ActionAuthenticatorMixin
        mixin._authenticate_and_authorize_normal_action = _agree
        mixin._authenticate_and_authorize_s3_action = _agree_on_s3

    def answer(self, call: ApiCall, read: Reading, environ: dict[str, Any]) -> Response:
        """Returns moto's answer to a judged call.

        Raises:
            AwsApiError: moto would do something else.
            NotImplementedError: moto does not know the operation.
        """
        if call.service == "s3" and call.operation not in _S3:
            raise NotImplementedError(call.operation)
        with _about(call):
            return Response.from_app(self._app, written(call, read, environ), buffered=True)


def written(call: ApiCall, read: Reading, environ: dict[str, Any]) -> dict[str, Any]:
    """Returns a request rewritten to contain only what its operation's model reads."""
    request = request_of(environ)
    kept = {name: value for name, value in environ.items() if not name.startswith("HTTP_")}
    headers = _headers(call, read, environ)
    scope = f"{call.access_key}/20000101/{call.region}/{read.model.signing_name}"
    kept |= headers | {"HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential={scope}/aws4_request, Signature=checked"}
    kept["HTTP_HOST"] = "localhost:" + environ.get("SERVER_PORT", "80")
    query: MultiDict[str, str] = MultiDict()
    if read.protocol in ("query", "ec2"):
        body = urlencode([*request.args.items(multi=True), *request.form.items(multi=True)]).encode()
        kept |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        kept["CONTENT_TYPE"] = "application/x-www-form-urlencoded; charset=utf-8"
    else:
        environ["wsgi.input"].seek(0)
        query = _modelled(request.args, read)
        if call.service != "s3":  # without a query, moto looks for parameters in the body's text or the headers
            query["x-id"] = call.operation
        elif call.operation not in _OBJECTS:
            kept["CONTENT_TYPE"] = "application/xml"
    kept["QUERY_STRING"] = urlencode(list(query.items(multi=True)))
    kept["RAW_URI"] = kept["REQUEST_URI"] = request.raw_path + (f"?{kept['QUERY_STRING']}" if query else "")
    return kept


def _headers(call: ApiCall, read: Reading, environ: dict[str, Any]) -> dict[str, str]:
    members = _members(read)
    modelled = {
        "HTTP_" + member.serialization.get("name", "").upper().replace("-", "_")
        for member in members
        if member.serialization.get("location") == "header"
    }
    found = {
        name: value
        for name, value in environ.items()
        if name in modelled or (name.startswith(_SAFE_HEADERS) and not name.startswith(_UNSAFE_HEADERS))
    }
    if call.service == "s3" and call.operation not in _COPIES:
        found = {name: value for name, value in found.items() if not name.startswith("HTTP_X_AMZ_COPY_SOURCE")}
    if call.service == "s3":
        found |= {name: environ[name] for name in _OBJECT_HEADERS if name in environ}
    return found


def _modelled(given: MultiDict[str, str], read: Reading) -> "MultiDict[str, str]":
    """Returns those parameters of a query that the operation's model knows."""
    in_query = [member for member in _members(read) if member.serialization.get("location") == "querystring"]
    if any(member.type_name == "map" for member in in_query):
        return MultiDict(given)
    trait: Any = read.operation.http_trait
    names = {member.serialization["name"] for member in in_query} | set(trait.query_args)
    return MultiDict([(name, value) for name, value in given.items(multi=True) if name in names])


def _members(read: Reading) -> list[Any]:
    shape: Any = read.operation.input_shape
    return list(shape.members.values()) if shape is not None else []


class _Dispatcher(DomainDispatcherApplication):
    """Routes by the scope of the signature alone, so that no path leads to moto's own routes."""

    def __init__(self, create_app: Callable[[Any], Any]) -> None:
        super().__init__(create_app)
        self._backends: dict[str | None, Any] = {}

    def get_application(self, environ: dict[str, Any]) -> Any:
        host = self.infer_service_region_host(environ, environ["PATH_INFO"])
        with self.lock:
            backend = self._backends.get(host) or self.get_backend_for_host(host)
            if backend is None:
                raise NotImplementedError(host)
            self._backends[host] = backend  # cached, because moto lists its folders to find it
            if backend not in self.app_instances:
                self.app_instances[backend] = _with_checked_views(self.create_app(backend))
            return self.app_instances[backend]


def _with_checked_views(app: Any) -> Any:
    """Disables the views of an application that bypass moto's permission hook, for which `_agree` is never called."""
    for endpoint in app.view_functions:
        if app.service != "s3" and ".dispatch" not in endpoint and "api_version_elb_backend" not in endpoint:
            app.view_functions[endpoint] = _unknown
    return app


def _unknown(**_: Any) -> Any:
    raise NotImplementedError


def _agree(self: Any, _resource: str = "*") -> None:
    """Checks that moto is about to carry out the judged call. moto calls it in place of its own permission check.

    Raises:
        AwsApiError: service, operation or region differ.
    """
    call = _call.get()
    if (self.boto3_service_name, self._get_action(), self.region) != (call.service, call.operation, call.region):
        raise _disagreement(call, f"{self.boto3_service_name}:{self._get_action()} in {self.region}")


def _agree_on_s3(self: Any, bucket_name: str | None = None, key_name: str | None = None) -> None:
    """Checks that moto's S3 is about to use the judged bucket and key. The rewritten query already determines the
    operation.

    Raises:
        AwsApiError: bucket, key or partition differ.
    """
    call = _call.get()
    bucket, key = call.parameters.get("Bucket"), call.parameters.get("Key")
    if call.service != "s3" or bucket_name != bucket or key_name != key or self.partition != "aws":
        raise _disagreement(call, f"s3 of {bucket_name}/{key_name}")


def _disagreement(call: ApiCall, other: str) -> AwsApiError:
    text = f"The request reads as {call.service}:{call.operation}, and as {other}: the twin answers neither."
    # the twin's own: no call may be judged as one operation and carried out as another
    return AwsApiError("AmbiguousRequest", text, 400)


@contextmanager
def _about(call: ApiCall) -> Iterator[None]:
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)
