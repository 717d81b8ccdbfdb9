"""Opens a client of the MLflow server that MLFLOW_TRACKING_URI names: https, Azure ML, or SageMaker's MLflow.

MLflow's own variables (MLFLOW_TRACKING_TOKEN, MLFLOW_EXPERIMENT_NAME …) apply:
https://mlflow.org/docs/latest/ml/tracking/.
"""

import os
import re
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any
from urllib.parse import urlsplit

from llmops_kit.cli.interfaces.platform import Say
from llmops_kit.core.errors import KitError, require_packages

URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SECRETS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")
_MAJOR = 3
"""Major version of MLflow's client and server; requirements/mlflow.in pins the client's."""
_PLUGINS = {"azureml": "azureml-mlflow", "arn": "sagemaker-mlflow"}
"""Scheme of a URI -> the plugin of MLflow's client that supports it."""
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_WAIT_SECONDS = 60


def tracking_uri() -> str:
    """Returns the server's URI; empty: nothing is tracked."""
    return os.environ.get(URI_VARIABLE, "").strip()


def masked(text: str) -> str:
    """Returns a text without the secrets of the URI and of MLflow's variables."""
    hidden = [os.environ.get(name, "") for name in _SECRETS]
    hidden += [part for part in (urlsplit(tracking_uri()).password, urlsplit(tracking_uri()).query) if part]
    for secret in filter(None, hidden):
        text = text.replace(secret, "***")
    return _USER.sub("***", text)


def require_mlflow(say: Say) -> None:
    """Checks, before a run starts, that it can be tracked. An unreachable server is only a warning.

    Raises:
        KitError: a package is missing, or client or server is MLflow of another major version.
    """
    if not tracking_uri():
        return
    try:
        open_client()
    except UnreachableError as e:
        say(f"warning: {e}")


class UnreachableError(KitError):
    """Error for an MLflow server that does not respond."""


def open_client() -> Any:
    """Returns MLflow's client.

    Raises:
        UnreachableError: the server does not respond.
        KitError: a package is missing, or client or server is MLflow of another major version.
    """
    uri = tracking_uri()
    require_packages("mlflow", "mlflow")
    scheme = urlsplit(uri).scheme
    if scheme in _PLUGINS:
        _require_plugin(scheme, _PLUGINS[scheme])
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # usage data
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout is for the command's own output
    import mlflow
    from mlflow import MlflowClient

    fix = "pip install 'llmops-kit[mlflow]'"
    _require_major("its client here", mlflow.__version__, fix)
    if scheme in ("http", "https"):
        fix = f"update the server to MLflow {_MAJOR}, or unset {URI_VARIABLE}"
        _require_major("the server", _server_version(uri), fix)
    return MlflowClient(tracking_uri=uri)


def _require_plugin(scheme: str, package: str) -> None:
    try:
        distribution(package)
    except PackageNotFoundError:
        what = f"a URI of scheme {scheme} needs the package {package}"
        raise KitError(what, where=URI_VARIABLE, fix=f"pip install {package}") from None


def _require_major(whose: str, version: str, fix: str) -> None:
    """Raises KitError for another major version; an empty one is unknown, as behind a gateway that exposes only the
    API.
    """
    if version and version.partition(".")[0] != str(_MAJOR):
        what = f"{whose} is MLflow {version}; the kit writes to MLflow {_MAJOR}"
        raise KitError(what, where=f"{URI_VARIABLE}={masked(tracking_uri())}", fix=fix)


def _server_version(uri: str) -> str:
    """Returns the server's version from /version; empty if it has no such page."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        creds = get_default_host_creds(uri)
        answer: Any = http_request(
            creds, "/version", "GET", max_retries=0, timeout=_WAIT_SECONDS, raise_on_status=False
        )
    except MlflowException as e:
        reason = masked(str(e).partition("\n")[0])[:300]
        raise UnreachableError(
            f"MLflow does not respond: {reason}",
            where=f"{URI_VARIABLE}={masked(uri)}",
            fix="start it, or correct the URI; the next `llmops runs collect` writes missing runs",
        ) from None
    found = answer.text.strip()
    return found if answer.status_code == 200 and re.fullmatch(r"\d+(\.\w+)+", found) else ""
