"""What the tests of AWS's twin share: twins, a role, a model."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from llmops_twins.aws import control
from twins.tests.emulated.aws.containers import Container, ServedTwin, emptied, fresh, served
from twins.tests.support.aws import RunningTwin, made_model, made_role, running_twin


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningTwin]]:
    """Starts twins, each in a home of its own unless one is given, and ends them."""
    with ExitStack() as stack:
        yield lambda home=None, **options: stack.enter_context(
            running_twin(home or tmp_path_factory.mktemp("twin"), **options)
        )


@pytest.fixture(scope="session")
def idle_twins() -> Iterator[list[Path]]:
    """The homes of twins that nobody has borrowed: empty, and ended with the session."""
    homes: list[Path] = []
    yield homes
    for home in homes:
        control.down(home)


@pytest.fixture(scope="module")
def borrow(idle_twins: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningTwin]]:
    """Lends empty twins with default quotas until the file ends: a start takes longer than most files' tests."""
    lent: list[RunningTwin] = []

    def lend(*, judge: str = "off", pace: float = 0.2, containers: str = "none") -> RunningTwin:
        home = idle_twins.pop() if idle_twins else tmp_path_factory.mktemp("twin")
        lent.append(RunningTwin(home, control.up(home, judge=judge, pace=pace, containers=containers)))
        lent[-1].ask("PUT", "settings", {"quotas": {}})
        return lent[-1]

    yield lend
    for twin in lent:
        twin.close()
        idle_twins.append(twin.home)
        control.reset(twin.home)


@pytest.fixture(scope="module")
def twin(borrow: Callable[..., RunningTwin]) -> RunningTwin:
    """A twin for the tests of one file."""
    return borrow()


@pytest.fixture(scope="module")
def role(twin: RunningTwin) -> str:
    """A role that SageMaker may assume."""
    return made_role(twin, "serving")


@pytest.fixture(scope="module")
def model(twin: RunningTwin, role: str) -> str:
    """A model of a version in a bucket."""
    s3 = twin.client("s3")
    s3.create_bucket(Bucket="models-of-tests")
    s3.put_object(Bucket="models-of-tests", Key="models/1/manifest.json", Body=b"{}")
    return made_model(twin, "model-one", role)


@pytest.fixture
def no_faults(twin: RunningTwin) -> Iterator[None]:
    """Ends faults when the test ends."""
    yield
    twin.ask("DELETE", "faults")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedTwin, Container]]:
    """A twin in this process and the container of its endpoint, for the tests of one file."""
    with served(tmp_path_factory.mktemp("twin")) as found:
        yield found


@pytest.fixture
def container(both: tuple[ServedTwin, Container]) -> Container:
    """The container, without traces of earlier tests."""
    return fresh(both[1])


@pytest.fixture
def served_twin(both: tuple[ServedTwin, Container]) -> Iterator[ServedTwin]:
    """The twin, whose invocations end with the test."""
    with emptied(both[0]) as made:
        yield made
