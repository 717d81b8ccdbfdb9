"""States that each release of the kit left: this checkout finds nothing to change in them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.emulated.infra.conftest import Stack
from tests.support import released_states
from tests.support.clouds import aws, azure_twin
from tests.support.clouds.twin_stacks import TwinStack


@pytest.mark.parametrize("release", released_states.releases())
def test_a_local_stack_of_a_release_is_up_to_date(make_stack: Callable[..., Stack], release: str) -> None:
    stack = make_stack(released_states.NAME)
    released = released_states.read(release, "local", released_states.places_here(stack))
    for key, content in released.objects.items():
        path = stack.home / "store" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    released_states.restore(stack, released)
    stack.entries = released.entries
    assert stack.changes() == {}


@pytest.mark.parametrize("release", released_states.releases())
def test_a_stack_of_a_release_on_aws_is_up_to_date(tmp_path: Path, release: str) -> None:
    with aws.running_account(tmp_path, pace=0.05) as account:
        stack = aws.make_stack(account, tmp_path / "stack", released_states.NAME)
        _require_up_to_date(stack, release, "aws", released_states.places_on_aws)


@pytest.mark.parametrize("release", released_states.releases())
def test_a_stack_of_a_release_on_azure_is_up_to_date(tmp_path: Path, release: str) -> None:
    with azure_twin.running_twin(tmp_path, pace=0.05) as subscription:
        stack = azure_twin.make_stack(subscription, tmp_path / "stack", released_states.NAME)
        _require_up_to_date(stack, release, "azure", released_states.places_on_azure)


def _require_up_to_date(
    stack: TwinStack[Any], release: str, target: str, places: Callable[[Any], Mapping[str, str]]
) -> None:
    """Deploys what the release deployed, since some previews look at live resources, and then takes its state."""
    released = released_states.read(release, target, {})
    with stack.twin.entered():
        for key, content in released.objects.items():
            stack.platform().store().objects.create(key, content.encode())
    stack.entries = released.entries
    stack.up()
    released_states.restore(stack, released_states.read(release, target, places(stack)))
    assert stack.changes() == {}
