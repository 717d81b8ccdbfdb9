"""Record the calls of a boto3 client. What stays of texts is what AWS's own models list as a value of that member."""

from typing import Any

from botocore.model import OperationModel

from llmops.platforms.exchanges import BYTES, Recorder, first

_PARAMETERS = "llmops-parameters"


def record(client: Any, recorder: Recorder) -> None:
    """Record what a client asks from now on."""

    def asked(params: Any, context: dict[str, Any], **_: Any) -> None:
        context[_PARAMETERS] = params

    def answered(parsed: dict[str, Any], model: OperationModel, context: dict[str, Any], **_: Any) -> None:
        recorder.add(
            f"{model.service_model.service_name} {model.name}",
            shown(context.get(_PARAMETERS), model.input_shape, recorder),
            int(parsed.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
            str(parsed.get("Error", {}).get("Code", "")),
            {} if "Error" in parsed else shown(parsed, model.output_shape, recorder),
        )

    client.meta.events.register("before-parameter-build.*.*", asked)
    client.meta.events.register("after-call.*.*", answered)


def shown(value: Any, shape: Any, recorder: Recorder) -> Any:
    """A value of a shape of botocore's, anonymised; members that the shape does not have are left out."""
    kind = shape.type_name if shape else ""
    if kind == "structure" and isinstance(value, dict):
        return {name: shown(value[name], shape.members[name], recorder) for name in value if name in shape.members}
    if kind == "list" and isinstance(value, list | tuple):
        return [shown(each, shape.member, recorder) for each in first(list(value))]
    if kind == "map" and isinstance(value, dict):
        return {recorder.mask(str(k)): shown(v, shape.value, recorder) for k, v in first(list(value.items()))}
    if kind in ("", "structure", "list", "map"):
        return {}
    if kind == "blob":
        return BYTES
    if isinstance(value, str) and value in getattr(shape, "enum", []):
        return value
    return recorder.plain(value)
