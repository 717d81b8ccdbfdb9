"""Which run a schedule may repeat, beside what the clouds' own tests show."""

import pytest

from llmops_kit.core.documents.run import RunSpec, TrainerJob
from llmops_kit.core.errors import KitError
from llmops_kit.core.hashes import sha256_bytes
from llmops_kit.infra.schedules import proven_spec
from tests.support.checkout import EXAMPLES


def proven(spec: RunSpec) -> str:
    """The spec that a schedule of a run repeats."""
    content = spec.to_json().encode()
    wanted = [("runs/a/run.json", lambda: sha256_bytes(content))]
    return proven_spec(("aws", "schedules", "w", "run"), "a", "b", {"runs/a/run.json": content}.get, wanted)


def test_a_run_of_two_jobs_is_refused() -> None:
    spec = RunSpec.load(EXAMPLES / "run-2.json")
    assert proven(spec) == spec.to_json()
    trainer = TrainerJob(image="registry.example.com/own", command=["train"])
    with pytest.raises(KitError, match="run a has two jobs") as caught:
        proven(spec.model_copy(update={"trainer": trainer}))
    assert caught.value.where.endswith(":aws.schedules.w.run")
    assert "llmops train RECIPE --again" in caught.value.fix
