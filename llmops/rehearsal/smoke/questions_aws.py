"""What is open about AWS. Sources are AWS's own documents, by the name of their page, unless said."""

from llmops.rehearsal.lifecycle.shared import ENDPOINT
from llmops.rehearsal.smoke.questions import CloudAnswer, Question
from llmops.rehearsal.stage import Stage


def _registered(stage: Stage) -> CloudAnswer | str:
    missing = stage.notes.get("unregistered", [])
    if missing:
        return CloudAnswer(f"{', '.join(missing)}: stored, and refused by the model package group", as_assumed=False)
    return f"{stage.notes['version']} is in the model package group"


def _alarm(stage: Stage) -> str:
    return f"the alarm undid the update, and `rollback && up` brought {stage.notes['version']} back, not rejected"


def _quality(stage: Stage) -> str:
    seen = len({at for at, score, _ in stage.timeline.quality if score < 1})
    return f"the update was undone by its quality; {seen} samples of the worse version were in the log by then"


def _log(stage: Stage) -> CloudAnswer | str:
    lines = sum(1 for _ in stage.platform().follow(stage.notes["run"]))
    return f"{lines} lines were read" if lines else CloudAnswer("the job's log was empty", as_assumed=False)


def _update(stage: Stage) -> str:
    ready = stage.endpoint_row(ENDPOINT)["state"]
    return f"the endpoint was updated in place, and is {ready}"


QUESTIONS = (
    Question(
        "gpu-variables",
        "Does a job on a GPU machine see its GPU, with NVIDIA_VISIBLE_DEVICES and NVIDIA_DRIVER_CAPABILITIES in the "
        "image?",
        "NVIDIA Container Toolkit, environment variables; SageMaker's page on own training images does not say",
        "with both variables it does; a job that sees none ends at once",
        65,
        beyond="no machine with a GPU takes part: `llmops train RECIPE --instance-type ml.g5.xlarge` shows it",
    ),
    Question(
        "scheduled-runs",
        "What does an execution id of EventBridge Scheduler look like?",
        "scheduler: managing-schedule-context-attributes (example d32c5kddcf5bb8c3)",
        "letters, digits and dashes; runs are known by the spec that they repeat",
        50,
        beyond="no schedule takes part: a stack with `schedules`, and `llmops runs list` after its first run, show it",
    ),
    Question(
        "interface-endpoints",
        "Do isolated jobs in an own network need interface endpoints?",
        "sagemaker: mkt-algo-model-internet-free, train-vpc",
        "no: S3's gateway is enough, SageMaker pulls images and writes logs itself",
        75,
        beyond="the stack has no network of its own: one with `network: {mode: own}`, and a run in it, show it",
    ),
    Question(
        "instances-meet",
        "Do the instances of a job in an own network meet, with encryption between them on?",
        "sagemaker: train-vpc, train-encrypt (UDP 500 and ESP between members of the group)",
        "with rules from the group to itself they do",
        92,
        beyond="two machines in an own network are needed: `llmops train RECIPE --instances 2` there shows it",
    ),
    Question(
        "registration",
        "Does CreateModelPackage take the gate's reasons as metadata?",
        "the pattern of CustomerMetadataValue in SageMaker's API model",
        "with other characters replaced it does",
        88,
        step="train",
        look=_registered,
    ),
    Question(
        "job-log",
        "Is a job's log there, and read to its end, once the job has ended?",
        "sagemaker: logging-cloudwatch",
        "streams appear in /aws/sagemaker/TrainingJobs within seconds",
        80,
        step="train",
        look=_log,
        otherwise=r"log (stream|group).*(not|no )",
    ),
    Question(
        "alarm-dimension",
        "Do metrics carry EndpointConfigName, so that alarms watch new instances alone?",
        "sagemaker: deployment-guardrails-configuration (its example of an alarm)",
        "they do: a bad version is undone, and the way back is not blocked by its errors",
        90,
        step="worse",
        look=_alarm,
        otherwise=r"the update failed for another reason|serves after the rollback|is (marked )?rejected",
    ),
    Question(
        "quality-bake",
        "Do samples of quality reach the alarm within the bake?",
        "cloudwatch: metric filters and alarm periods; how long SageMaker takes to ship a container's lines is nowhere",
        "samples a minute apart reach it within 300 s",
        55,
        step="worse",
        look=_quality,
        otherwise=r"was to be refused, and was not",
    ),
    Question(
        "update-in-place",
        "Is an endpoint updated in place for another image?",
        "terraform-provider-aws, aws_sagemaker_endpoint: only the name replaces it",
        "it is, within the provider's hour",
        90,
        step="image",
        look=_update,
        otherwise=r"timeout while waiting",
    ),
    Question(
        "bucket-name",
        "Is a bucket's name free at once after it was deleted?",
        "s3: BucketRestrictions (a name may take time to be free; OperationAborted until then)",
        "it is, for the same account and region",
        70,
        step="up-again",
        look=lambda stage: "buckets of the same names were made again at once",
        otherwise=r"OperationAborted|conflicting conditional operation|BucketAlready",
    ),
    Question(
        "halt-jobs",
        "May KeepAlivePeriodInSeconds be set to 0 on a job that still runs?",
        "sagemaker: train-warm-pools speaks of completed jobs with an available pool",
        "it may be refused: jobs are stopped first, and a refusal does not stop `down`",
        40,
        beyond="no job runs when the stack goes down: `llmops train RECIPE --detach`, then `llmops down`, show it",
    ),
)
