"""Operations of the command line on stacks on AWS."""

from llmops_kit.cli.interfaces.operations import Lazy, Operations
from llmops_kit.core.twins import twin_address

OPERATIONS = Operations(
    target="aws",
    platform=Lazy("llmops_kit.cli.platforms.aws.platform:AwsPlatform"),
    preflight=Lazy("llmops_kit.cli.platforms.aws.preflight:preflight"),
    extra=("aws", "boto3"),
    clients=Lazy("llmops_kit.cli.platforms.aws.preflight:clients_of"),
    region=Lazy("llmops_kit.cli.platforms.aws.preflight:region_of"),
    twin_address=twin_address,
    plan_rules=Lazy("llmops_kit.cli.plan.aws"),
    quotas=Lazy("llmops_kit.cli.platforms.aws.quotas:quotas_of"),
    sweeper=Lazy("llmops_kit.cli.platforms.aws.sweep.sweep:AwsSweeper"),
    images=Lazy("llmops_kit.cli.platforms.aws.image_registry:EcrImages"),
    use_policy=Lazy("llmops_kit.cli.platforms.aws.use_policy:use_policy"),
    recording=Lazy("llmops_kit.cli.platforms.aws.recording.recording:AwsRecording"),
    doctor=Lazy("llmops_kit.cli.platforms.aws.doctor"),
    state_scheme="s3",
    state_locks=Lazy("llmops_kit.cli.platforms.aws.state_locks:locks_of_stack"),
)
