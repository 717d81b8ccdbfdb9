"""Folder layouts: of containers on SageMaker, Azure ML and a bare machine, of a store, and of this machine's cache.

Sources: SageMaker's container contract (`/opt/ml`); Azure ML's `AZUREML_MODEL_DIR`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT_VARIABLE = "LLMOPS_ROOT"
FOLDER_VARIABLES = {
    name: f"LLMOPS_FOLDER_{name.upper()}"
    for name in ("spec", "dataset", "base_model", "trained", "model", "checkpoints", "reports")
}
"""A training container's folder -> the variable that says where it is, where a platform mounts it elsewhere."""
EXPORT_VARIABLE = "LLMOPS_EXPORT_PYTHON"
"""Names the interpreter of the training image's second environment, which converts models (requirements/export.txt)."""
MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
SPEC = "run.json"
EVALUATION = "evaluation.json"
"""In a trained version: answers of the models (core/documents/evaluation.py)."""
JUDGEMENTS = "judgements.json"
"""In a trained version with suites `judge`: verdicts of the judges (core/documents/judgements.py)."""
METRICS = "metrics.jsonl"
"""In a trained version: measurements at each step (core/documents/training_metrics.py)."""
MODEL_CARD = "README.md"
"""In a trained version: its model card (training/models/model_card.py)."""
FAILURE = "failure"
FAILURE_VARIABLE = "LLMOPS_FAILURE"
"""Variable with the file to which a user's trainer can write why it failed."""
TRAINER_FACTS = "training.json"
"""In the output of a user's trainer: TrainingFacts, if it writes them."""


def container_root(environ: Mapping[str, str]) -> Path:
    """Returns the folder that stands for `/`: `/` in a container, another for a process that replaces one."""
    return Path(environ.get(ROOT_VARIABLE) or "/")


@dataclass(frozen=True)
class TrainingFolders:
    """Folders of a training container: SageMaker's under `root`, but for those that a platform placed elsewhere."""

    root: Path
    placed: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "TrainingFolders":
        """Returns the folders at the places that the platform's environment variables give."""
        placed = {name: Path(environ[variable]) for name, variable in FOLDER_VARIABLES.items() if variable in environ}
        return cls(container_root(environ), placed)

    @property
    def trainer_environ(self) -> dict[str, str]:
        """Variables with the folders of a user's trainer, the same ones on every target."""
        folders = {name: self.channel(name) for name in ("spec", "dataset", "base_model")}
        folders |= {"model": self.model, "checkpoints": self.checkpoints}
        places = {FOLDER_VARIABLES[name]: str(folder) for name, folder in folders.items()}
        return places | {FAILURE_VARIABLE: str(self.failure)}

    def channel(self, name: str) -> Path:
        """Returns the folder of an input channel: spec, dataset, base_model, or trained (the output of a first job)."""
        return self.placed.get(name) or self.root / "opt/ml/input/data" / name

    @property
    def spec(self) -> Path:
        """The RunSpec's file."""
        return self.channel("spec") / SPEC

    @property
    def resources(self) -> Path:
        """SageMaker's resourceconfig.json: the job's hosts, and which of them this is."""
        return self.root / "opt/ml/input/config/resourceconfig.json"

    @property
    def hosts(self) -> Path:
        """The hosts file, with the addresses of the job's hosts."""
        return self.root / "etc/hosts"

    @property
    def model(self) -> Path:
        """The complete unsigned model version."""
        return self.placed.get("model") or self.root / "opt/ml/model"

    @property
    def checkpoints(self) -> Path:
        """Folder that survives the job's interruption."""
        return self.placed.get("checkpoints") or self.root / "opt/ml/checkpoints"

    @property
    def failure(self) -> Path:
        """File with the reason of a failure; a platform shows its first 1,024 characters. Among the reports, if those
        were placed.
        """
        return self.placed["reports"] / FAILURE if "reports" in self.placed else self.root / "opt/ml/output" / FAILURE

    @property
    def reports(self) -> Path:
        """Evaluation reports and answers."""
        return self.placed.get("reports") or self.root / "opt/ml/output/data"


def serving_model_folder(environ: Mapping[str, str]) -> Path:
    """Returns the folder of a serving container's model version. Azure ML may keep the folder's own name below the
    mount: https://learn.microsoft.com/azure/machine-learning/concept-online-deployment-model-specification
    """
    if not (mounted := environ.get("AZUREML_MODEL_DIR")):
        return container_root(environ) / "opt/ml/model"
    inside = [] if Path(mounted, MANIFEST).exists() else [each.parent for each in Path(mounted).glob(f"*/{MANIFEST}")]
    return inside[0] if len(inside) == 1 else Path(mounted)


def model_key(sha256: str) -> str:
    """Returns a model version's folder in a store."""
    return f"models/{sha256}"


def dataset_key(sha256: str) -> str:
    """Returns a dataset version's folder in a store."""
    return f"datasets/{sha256}"


def alias_key(name: str, number: int) -> str:
    """Returns the key of the document that gives a model version its alias name@number."""
    return f"aliases/models/{name}/{number}.json"


def rejection_log(sha256: str) -> str:
    """Returns the folder of a version's log of rejected rollouts: entries {action: rejected or cleared, why, when}."""
    return f"rejections/{sha256}"


def revocation_list_key(number: int) -> str:
    """Returns the key of a signed list of revoked keys and versions; the one with the highest number counts."""
    return f"revoked/{number:06d}.json"


def endpoint_mark(endpoint: str) -> str:
    """Returns the key of the object that marks an endpoint, by its name in the cloud, as one in the stack's state."""
    return f"endpoints/{endpoint}"


def run_key(run: str) -> str:
    """Returns a run's folder in a cloud's bucket of runs: input/<channel>/…, checkpoints/…, output/…."""
    return f"runs/{run}"


def run_spec_key(run: str, attempt: int = 1) -> str:
    """Returns the key of an attempt's RunSpec in a cloud's bucket of runs; each attempt may have other machines."""
    return f"{run_key(run)}/input/spec{f'-{attempt}' if attempt > 1 else ''}/{SPEC}"


def run_evaluation_key(run: str) -> str:
    """Returns the folder that outlives the second jobs of a run with its own trainer. The trainer can't write there,
    because files that it planted would pass for finished evaluations.
    """
    return f"{run_key(run)}/evaluation-checkpoints"


def run_output_key(run: str) -> str:
    """Returns the folder of a run's output in a cloud's bucket of runs; each job has a subfolder of its name."""
    return f"{run_key(run)}/output"


def run_checkpoints_key(run: str) -> str:
    """Returns the folder that outlives a run's jobs, in a cloud's bucket of runs or of checkpoints."""
    return f"{run_key(run)}/checkpoints"


def schedule_key(name: str, run: str) -> str:
    """Returns the folder of the spec of a run that a schedule repeats."""
    return f"schedules/{name}/{run}"


def async_input_key(endpoint: str, request: str) -> str:
    """Returns the key of a request to an asynchronous endpoint, in a cloud's bucket of runs."""
    return f"async/{endpoint}/input/{request}.json"


def cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Returns the cache for engines, images and environments: $LLMOPS_CACHE, or llmops in the user's cache."""
    env = os.environ if environ is None else environ
    if chosen := env.get("LLMOPS_CACHE"):
        return Path(chosen)
    base = env.get("XDG_CACHE_HOME") or Path(env.get("HOME") or Path.home()) / ".cache"
    return Path(base) / "llmops"
