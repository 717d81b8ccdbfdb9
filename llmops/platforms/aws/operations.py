"""What the command line can do with stacks on AWS."""

from contract.twins import twin_address
from llmops.platforms.operations import Lazy, Operations

OPERATIONS = Operations(
    target="aws",
    platform=Lazy("llmops.platforms.aws.platform:AwsPlatform"),
    preflight=Lazy("llmops.platforms.aws.preflight:preflight"),
    extra=("aws", "boto3"),
    clients=Lazy("llmops.platforms.aws.preflight:clients_of"),
    region=Lazy("llmops.platforms.aws.preflight:region_of"),
    twin_address=twin_address,
    plan_rules=Lazy("llmops.plan.aws"),
    quotas=Lazy("llmops.platforms.aws.quotas:quotas_of"),
    sweeper=Lazy("llmops.platforms.aws.sweep.sweep:AwsSweeper"),
    images=Lazy("llmops.platforms.aws.image_registry:EcrImages"),
    use_policy=Lazy("llmops.platforms.aws.use_policy:use_policy"),
    recording=Lazy("llmops.platforms.aws.recording.recording:AwsRecording"),
    doctor=Lazy("llmops.platforms.aws.doctor"),
    rehearsal=Lazy("llmops.rehearsal.clouds.aws:Aws"),
    state_scheme="s3",
    state_locks=Lazy("llmops.platforms.aws.state_locks:locks_of_stack"),
)
