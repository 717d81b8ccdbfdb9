"""Facts of AWS by which settings are resolved."""

from llmops_kit.clouds.aws.job_requests import has_gpus, is_accelerated
from llmops_kit.clouds.traits import PROCESS_IMAGE, CloudTraits

_BAKE_SECONDS = 300
"""CloudWatch's alarms have periods of a minute: within the 30 s of target local they would detect nothing."""


def _is_the_kits(image: str, registry: str, repository: str) -> bool:
    name = image.partition("@")[0]
    return name == PROCESS_IMAGE or name.endswith(f"{registry}/serving" if registry else f"/{repository}")


TRAITS = CloudTraits(_BAKE_SECONDS, has_gpus, is_accelerated, "ml.c5.2xlarge", "ml.g5.xlarge", _is_the_kits)
