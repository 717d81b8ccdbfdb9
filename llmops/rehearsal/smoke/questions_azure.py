"""What is open about Azure. Sources are Microsoft's own pages by their name, or what other teams wrote down."""

from contract.errors import KitError
from llmops.rehearsal.lifecycle.shared import ENDPOINT
from llmops.rehearsal.smoke.questions import CloudAnswer, Question
from llmops.rehearsal.stage import Stage


def _log(stage: Stage) -> CloudAnswer | str:
    lines = sum(1 for _ in stage.platform().follow(stage.notes["run"]))
    return f"the job's log was read, {lines} lines" if lines else CloudAnswer("the log was empty", as_assumed=False)


def _serves(stage: Stage) -> str:
    return f"the endpoint pulled its image and read its model, and is {stage.endpoint_row(ENDPOINT)['state']}"


def _budget(stage: Stage) -> CloudAnswer | str:
    azure = stage.outputs().azure
    group = azure.resource_group if azure else ""
    budgets = [t for t in stage.cloud.held() if t.startswith("budget ") and group.lower() in t]
    if budgets:
        return "the offer takes budgets: one was made"
    return CloudAnswer("the offer has no budgets: `up` went on without one", as_assumed=False)


def _pages(stage: Stage) -> CloudAnswer | str:
    link = stage.cloud.next_link()
    if not link:
        raise KitError("the subscription's resources fit on one page")
    if link.startswith("https://management.azure.com:443/"):
        return CloudAnswer("links to a next page name the port, :443", as_assumed=False)
    return "links to a next page name no port"


QUESTIONS = (
    Question(
        "datastores",
        "Does Azure look whether a datastore can be reached when it is made?",
        "azure-ai-ml always sends skip_validation=true",
        "it may, so the kit sends skip_validation too",
        35,
        step="deploy",
        look=lambda stage: "datastores were made with skip_validation, and nothing was refused",
        otherwise=r"datastore",
    ),
    Question(
        "workspace-identity",
        "Is it enough for the workspace's identity to be an officer of the vault's secrets, not its administrator?",
        "machine-learning: how-to-identity-based-service-authentication asks for Key Vault Administrator",
        "it is enough",
        50,
        step="deploy",
        look=lambda stage: "the workspace came up with the roles that it was given",
        otherwise=r"workspaces?/.*(AuthorizationFailed|does not have (authorization|permission))",
    ),
    Question(
        "budgets",
        "Does the offer of the subscription take budgets?",
        "cost-management: understand-cost-mgmt-data, offers that are supported",
        "most do; where not, `up` warns and goes on",
        60,
        step="deploy",
        look=_budget,
    ),
    Question(
        "next-link-port",
        "Do links to a next page name the default port?",
        "tests of the SDKs for Python show https://management.azure.com:443/",
        "they may: with and without it is the same host",
        40,
        step="account",
        look=_pages,
        otherwise=r"the next page is elsewhere",
    ),
    Question(
        "training-identity",
        "Is the log of a job there if its identity may write to the workspace's own account, and read versions alone?",
        "machine-learning: how-to-setup-authentication gives Storage Blob Data Contributor on the account",
        "it is; a log that may not be read ends no run",
        60,
        step="train",
        look=_log,
        otherwise=r"AuthorizationPermissionMismatch|ScriptExecution.*Auth",
    ),
    Question(
        "checkpoints",
        "Are checkpoints kept whole by an upload whose marker comes last?",
        "machine-learning: how-to-read-write-data (a ReadWriteMount renames by copying)",
        "they are; a mount's rename might not be atomic",
        70,
        step="train",
        look=lambda stage: "a run with checkpoints ended; none had to be gone on with",
        otherwise=r"checkpoint",
    ),
    Question(
        "first-endpoint",
        "Does the first managed endpoint of a subscription need Microsoft.Cdn and Microsoft.PolicyInsights?",
        "Microsoft Q&A 1983847 and 2129910; mslearn-mlops#72",
        "it does: `bootstrap` registers both",
        60,
        step="serve",
        look=lambda stage: "with both registered the first endpoint came up",
        otherwise=r"SubscriptionNotRegistered|Resource provider \[N/A\]",
    ),
    Question(
        "endpoint-identity",
        "Are reading versions and the workspace's own account, and writing its metrics, enough for an endpoint?",
        "azureml-examples, user-assigned identities: a role on the whole account, and AzureML Metrics Writer",
        "they are enough",
        70,
        step="serve",
        look=_serves,
        otherwise=r"pull permission|AuthorizationPermissionMismatch|ModelDownload|storage.*(403|authoriz)",
    ),
    Question(
        "traffic",
        "Is setting an endpoint's weights an operation that has to be waited for?",
        "azure-sdk-for-net#36961: no deployment can be made while its endpoint is updating",
        "it is, and it is waited for",
        40,
        step="image",
        look=lambda stage: "weights were set one after the other, and nothing was refused meanwhile",
        otherwise=r"(endpoint|deployment).*(conflict|updating|409)|another operation",
    ),
    Question(
        "asset-versions",
        "May versions of models and environments be deleted?",
        "azure-cli#21957, azure-powershell#24018: the tools only archive them",
        "they may not: the kit archives them, and leaves them to the workspace",
        45,
        step="down",
        look=lambda stage: "versions were archived, and nothing was refused",
        otherwise=r"(environments|models)/.*(not allowed|not supported|MethodNotAllowed|405)",
    ),
    Question(
        "workspace-name",
        "Is the workspace's name free at once after `down --data`?",
        "machine-learning: concept-soft-delete (14 days, unless forceToPurge)",
        "it is, by forceToPurge",
        90,
        step="up-again",
        look=lambda stage: "the same name was taken again",
        otherwise=r"soft.?delet|workspace.*(exists|conflict|recover)",
    ),
    Question(
        "vault-name",
        "Can a vault that was deleted be recovered into a group that was made again, and be taken over?",
        "key-vault: key-vault-recovery, soft-delete-overview",
        "it can, with its keys: until then nobody else may have its name",
        85,
        step="up-again",
        look=lambda stage: "the vault was recovered, and the stack took it over",
        otherwise=r"vault.*(recover|was deleted|already)",
    ),
    Question(
        "autoscaling",
        "Does a rule on the requests of a deployment scale an endpoint?",
        "machine-learning: how-to-autoscale-endpoints; azure-monitor: supported metrics (RequestsPerMinute)",
        "it does; connections count idle ones too",
        55,
        beyond="one machine serves here: an endpoint with `max_instances: 2` under load shows it",
    ),
    Question(
        "cluster-delete",
        "Does the deletion of a cluster need underlyingResourceAction?",
        "the REST reference requires it",
        "it may be refused without, so the kit sends it",
        40,
        step="down-data",
        look=lambda stage: "clusters were deleted with it",
        otherwise=r"underlyingResourceAction",
    ),
)
