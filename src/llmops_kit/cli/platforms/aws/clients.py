"""Clients of AWS for one stack, which record their calls if the environment asks for it.

Of texts, recordings keep only those that AWS's own models list as values of a member.
"""

from typing import Any

from botocore.model import OperationModel

from llmops_kit.cli.platforms.exchanges import BYTES, Recorder, first, recorder
from llmops_kit.clouds.aws.session import StackSession

_PARAMETERS = "llmops-parameters"


class AwsClients(StackSession):
    """boto3 clients by service; see StackSession."""

    def _make(self, service: str, region: str) -> Any:
        client = super()._make(service, region)
        if to := recorder():
            _record(client, to)
        return client


def _record(client: Any, recorder: Recorder) -> None:
    """Registers hooks that record a client's requests and responses."""

    def requested(params: Any, context: dict[str, Any], **_: Any) -> None:
        context[_PARAMETERS] = params

    def answered(parsed: dict[str, Any], model: OperationModel, context: dict[str, Any], **_: Any) -> None:
        recorder.add(
            f"{model.service_model.service_name} {model.name}",
            _shown(context.get(_PARAMETERS), model.input_shape, recorder),
            int(parsed.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
            str(parsed.get("Error", {}).get("Code", "")),
            {} if "Error" in parsed else _shown(parsed, model.output_shape, recorder),
        )

    client.meta.events.register("before-parameter-build.*.*", requested)
    client.meta.events.register("after-call.*.*", answered)


def _shown(value: Any, shape: Any, recorder: Recorder) -> Any:
    """Returns an anonymised value of a botocore shape, without members that the shape does not have."""
    kind = shape.type_name if shape else ""
    if kind == "structure" and isinstance(value, dict):
        return {name: _shown(value[name], shape.members[name], recorder) for name in value if name in shape.members}
    if kind == "list" and isinstance(value, list | tuple):
        return [_shown(each, shape.member, recorder) for each in first(list(value))]
    if kind == "map" and isinstance(value, dict):
        return {recorder.mask(str(k)): _shown(v, shape.value, recorder) for k, v in first(list(value.items()))}
    if kind in ("", "structure", "list", "map"):
        return {}
    if kind == "blob":
        return BYTES
    if isinstance(value, str) and value in getattr(shape, "enum", []):
        return value
    return recorder.plain(value)
