"""The folder of runs on this machine, and their image. A run itself is an event, never a resource."""

from pathlib import Path
from typing import TYPE_CHECKING

from pulumi import dynamic

from llmops_kit.core.integrity.stack_homes import home_of
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, gone, inputs_of
from llmops_kit.infra.targets.local.providers.home import claim, is_there

if TYPE_CHECKING:
    import psutil


class TrainingPlaceProvider(KitProvider):
    """Creates the folder of runs."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Creates the folder of runs; idempotent."""
        _make_folder(props)
        return dynamic.CreateResult(props["runs"], inputs_of(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reports the folder as gone if it is missing."""
        exists = is_there(home_of(props["runs"], "runs")) and Path(props["runs"]).is_dir()
        return dynamic.ReadResult(id_, props) if exists else gone()

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Creates the new folder; new runs use it and the new image, and active ones continue in the old one."""
        _make_folder(_news)
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Stops active runs, and keeps the folders of all: they are the history of the model versions."""
        if is_there(home_of(_props["runs"], "runs")):
            for state in Path(_props["runs"]).glob("*/state.json"):
                _stop_run(state)


def _make_folder(props: Properties) -> None:
    claim(home_of(props["runs"], "runs"))
    Path(props["runs"]).mkdir(exist_ok=True)


def _stop_run(path: Path) -> None:
    import psutil

    from llmops_kit.core.documents.run import RunState
    from llmops_kit.local_runtime.processes import is_running

    state = RunState.load(path)
    if state.pid and is_running(state.pid, state.pid_started):
        _end(psutil.Process(state.pid))


def _end(process: "psutil.Process") -> None:
    import psutil

    process.terminate()
    try:
        process.wait(30)  # it writes a checkpoint
    except psutil.TimeoutExpired:
        process.kill()
