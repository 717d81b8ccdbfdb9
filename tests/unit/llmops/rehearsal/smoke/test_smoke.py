"""How a smoke test ends, whatever happens on the way, and how it goes on."""

import json
import signal
from datetime import datetime, timedelta

import pytest

from llmops_kit.cli.rehearsal.cloud import Standing
from llmops_kit.cli.rehearsal.lifecycle.shared import write_stack
from llmops_kit.cli.rehearsal.questions import Question
from llmops_kit.cli.rehearsal.smoke import smoke as smoking
from llmops_kit.cli.rehearsal.smoke.smoke_steps import BACK, DEPLOY, STEPS
from llmops_kit.cli.rehearsal.stage import Stage
from llmops_kit.core.documents.recipe import Recipe
from llmops_kit.core.errors import KitError, RefusedError
from tests.support.checkout import CHECKOUT
from tests.unit.llmops.rehearsal.smoke.conftest import Smoked

EXPIRED = KitError("AWS refused ListEndpoints: ExpiredToken: it is", where="the account", fix="`aws sso login`")
NO_QUOTA = KitError("ResourceLimitExceeded: ml.m5.xlarge for training job usage", where="the account", fix="ask for it")


def serve(smoked: Smoked, stage: Stage) -> None:
    """A machine of ours, which costs."""
    smoked.account.machines.append(Standing(f"{stage.world.id}-chat", "hosting", "ml.m5.xlarge", 1))  # type: ignore[attr-defined]


def test_it_ends_with_a_take_down_that_is_proven(smoked: Smoked) -> None:
    done = smoked(smoked.step("one"), smoked.step("two", "one"))
    assert [(r.step.id, r.state) for r in done.results] == [
        ("one", "passed"),
        ("two", "passed"),
        ("take-down", "passed"),
    ]
    assert done.passed
    assert not done.unfinished
    assert list(smoked.account.things) == ["bucket acme-payroll"]
    assert not smoked.folder.exists()
    last = json.loads((smoked.folder.parent / "last-aws.json").read_text())
    assert (last["schema"], last["passed"]) == ("smoke/1", True)


@pytest.mark.parametrize("failing", ["one", "two", "three"])
def test_after_a_failure_it_goes_on_with_that_step(smoked: Smoked, failing: str) -> None:
    steps = [smoked.step("one"), smoked.step("two", "one"), smoked.step("three", "two")]
    smoked.account.refuses[failing] = NO_QUOTA
    failed = smoked(*steps)
    assert failed.failed
    assert failed.failed.step.id == failing
    assert failed.unfinished
    assert smoked.account.done[-1] == "down"
    smoked.account.refuses.clear()
    before = len(smoked.account.done)
    done = smoked(*steps, resume=True)
    assert [r.state for r in done.results] == ["passed"] * 4
    again = [name for name in smoked.account.done[before:] if name in ("one", "two", "three")]
    assert again == ["one", "two", "three"][["one", "two", "three"].index(failing) :]
    assert list(smoked.account.things) == ["bucket acme-payroll"]
    assert [r.evidence.said for r in done.results[:3]] == [("one done",), ("two done",), ("three done",)]


@pytest.mark.parametrize("way", ["resume", "take_down"])
@pytest.mark.parametrize("at", ["one", "two"])
def test_killed_it_is_resumed_or_taken_down_and_leaves_nothing(smoked: Smoked, at: str, way: str) -> None:
    """A kill leaves no time for anything: what it leaves is what is kept before each step."""

    class Killed(BaseException):
        """Nobody catches it."""

    def die(_: Stage) -> None:
        if smoked.account.done.count(at) == 1:
            raise Killed

    steps = [smoked.step(name, do=die if name == at else lambda _: None) for name in ("one", "two")]
    with pytest.raises(Killed):
        smoked(*steps)
    assert [t for t in smoked.account.things if t.endswith(f"-{at}")]
    with pytest.raises(RefusedError) as refused:
        smoked(*steps)
    assert "--resume" in refused.value.fix
    done = smoked(*steps, **{way: True})
    assert not done.unfinished
    assert done.passed == (way == "resume")
    assert list(smoked.account.things) == ["bucket acme-payroll"]
    assert not smoked.folder.exists()


def test_ctrl_c_stops_what_costs_and_keeps_the_rest(smoked: Smoked) -> None:
    def interrupt(stage: Stage) -> None:
        serve(smoked, stage)
        signal.raise_signal(signal.SIGINT)

    done = smoked(smoked.step("one"), smoked.step("two", do=interrupt))
    assert [r.state for r in done.results] == ["passed", "stopped"]
    assert done.unfinished
    assert smoked.account.machines == []
    assert smoked.account.done[-1] == "down"


def test_a_budget_that_is_reached_takes_it_down(smoked: Smoked) -> None:
    steps = smoked.step("one", do=lambda stage: serve(smoked, stage)), smoked.step("two")
    done = smoked(*steps, usd=0.01)
    assert [r.state for r in done.results] == ["passed", "failed", "passed"]
    assert "might bring it to" in str(done.results[1].error)
    assert "two" not in smoked.account.done
    assert not done.passed
    assert not done.unfinished
    assert list(smoked.account.things) == ["bucket acme-payroll"]


def test_time_that_is_over_takes_it_down(smoked: Smoked) -> None:
    done = smoked(smoked.step("one"), ttl=timedelta(seconds=-1))
    assert "its time is over" in str(done.results[0].error)
    assert done.results[-1].state == "passed"


def test_what_is_reached_within_a_step_ends_the_step(smoked: Smoked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoking, "_LOOK_SECONDS", 0.01)

    def wait(stage: Stage) -> None:
        meter = stage.world.meter
        assert meter
        meter.usd = 11.0
        stage.wait(lambda: False, "nothing", 60)

    done = smoked(smoked.step("one", do=wait), smoked.step("two"))
    assert [r.state for r in done.results] == ["failed", "not run", "passed"]
    assert "it has cost about $11" in str(done.results[0].error)


@pytest.mark.parametrize("error", [EXPIRED, KeyError("InstanceType")], ids=["refused", "unreadable"])
def test_a_cost_that_can_not_be_seen_stops_it_and_is_not_zero(
    smoked: Smoked, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(smoking, "_LOOK_SECONDS", 0.01)

    def go_blind(stage: Stage) -> None:
        smoked.account.unseen = error
        stage.wait(lambda: False, "nothing", 60)

    done = smoked(smoked.step("one", do=go_blind), smoked.step("two"))
    assert [r.state for r in done.results] == ["failed", "not run"]
    assert "the cost is not known" in str(done.results[0].error)
    assert ("KeyError: 'InstanceType'" if isinstance(error, KeyError) else "ExpiredToken") in str(done.results[0].error)
    assert done.usd is None
    assert smoked.account.done[-1] == "down"
    smoked.account.unseen = None
    again = smoked(smoked.step("one"), smoked.step("two"), resume=True)
    assert again.passed
    assert again.usd is not None


def test_a_cost_that_was_never_seen_ends_the_first_step(smoked: Smoked) -> None:
    smoked.account.unseen = KeyError("InstanceType")
    done = smoked(smoked.step("one"))
    assert [r.state for r in done.results] == ["failed"]
    assert "resources billed by the hour can't be read: KeyError: 'InstanceType'" in str(done.results[0].error)
    assert "one" not in smoked.account.done
    assert done.usd is None


def test_what_stood_while_nobody_looked_is_counted(smoked: Smoked) -> None:
    smoked.account.refuses["one"] = NO_QUOTA
    smoked(smoked.step("one"))
    path = smoked.folder / "progress.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"rate": 2.0, "looked": kept["looked"] - 3600}))
    smoked.account.refuses.clear()
    done = smoked(resume=True)
    assert done.usd is not None
    assert 2.0 <= done.usd < 2.1


def test_what_is_left_is_named_and_the_take_down_repeated(smoked: Smoked) -> None:
    smoked.account.stays = True
    done = smoked(smoked.step("one"))
    assert done.unfinished
    assert "left behind: thing smoke-" in str(done.results[-1].error)
    assert "--take-down" in done.results[-1].error.fix  # type: ignore[union-attr]
    smoked.account.stays = False
    again = smoked(resume=True)
    assert not again.unfinished
    assert again.passed
    assert smoked.account.done.count("one") == 1


def test_a_take_down_that_was_killed_goes_on_without_the_states_that_are_gone(smoked: Smoked) -> None:
    smoked.account.dies = True
    with pytest.raises(SystemExit):
        smoked(smoked.step("one"))
    assert not smoked.account.dies
    done = smoked(resume=True)
    assert done.passed
    assert not done.unfinished
    removed = [line for line in smoked.account.done if line.startswith(("down --data", "remove"))]
    assert [line.split()[0] for line in removed] == ["down", "remove", "remove"]


def test_what_others_made_meanwhile_is_told_and_no_failure(smoked: Smoked) -> None:
    def others(stage: Stage) -> None:
        stage.world.progress.before = sorted(stage.cloud.held())  # type: ignore[attr-defined]
        smoked.account.things["bucket acme-crm"] = {}

    done = smoked(smoked.step("one", do=others))
    assert done.passed
    assert "new since the begin, by others or by the cloud: bucket acme-crm" in done.results[-1].evidence.said


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        ({"usd": 0.0}, "costs money", "--max-usd 10"),
        ({"resume": True}, "there is no smoke test to resume", "llmops smoke aws"),
        ({"take_down": True}, "there is no smoke test to resume", "llmops smoke aws"),
    ],
)
def test_what_can_not_be_meant_is_refused(smoked: Smoked, options: dict[str, object], what: str, fix: str) -> None:
    with pytest.raises(KitError, match=what) as refused:
        smoked.make(**options)
    assert fix in refused.value.fix
    assert not smoked.folder.exists()


def test_it_goes_on_in_its_own_account_alone(smoked: Smoked) -> None:
    smoked.account.refuses["one"] = NO_QUOTA
    smoked(smoked.step("one"))
    smoked.account.number = "AWS account 999999999999"
    with pytest.raises(KitError, match="is in AWS account 123456789012, us-east-1, and these credentials are of"):
        smoked(resume=True)
    assert (smoked.folder / "progress.json").is_file()


def test_progress_that_can_not_be_read_says_what_to_do(smoked: Smoked) -> None:
    smoked.folder.mkdir(parents=True)
    (smoked.folder / "progress.json").write_text("{}")
    with pytest.raises(KitError) as refused:
        smoked.make(resume=True)
    assert refused.value.where.startswith(str(smoked.folder / "progress.json"))
    assert "llmops:smoke" in refused.value.fix


def test_what_was_stopped_is_brought_back_where_the_rest_needs_it(smoked: Smoked) -> None:
    steps = [smoked.step("account"), smoked.step(DEPLOY), smoked.step("train"), smoked.step("down")]
    smoked.account.refuses["train"] = NO_QUOTA
    smoked(*steps)
    test = smoked.make(*steps, resume=True)
    assert [s.id for s in test._steps()] == ["account", DEPLOY, BACK.id, "train", "down"]
    test.progress.steps |= {key: {} for key in ("train", "down")}
    assert BACK not in test._steps()


def test_more_time_is_what_all_expires_by(smoked: Smoked) -> None:
    expires: list[datetime] = []

    def write(stage: Stage) -> None:
        write_stack(stage, "dev")

    def look(stage: Stage) -> None:
        expires.append(datetime.fromisoformat(stage.file().settings("expires").expires))

    steps = smoked.step("one", do=write), smoked.step("two", do=look)
    smoked.account.refuses["two"] = NO_QUOTA
    smoked(*steps, ttl=timedelta(hours=1))
    smoked.account.refuses.clear()
    assert smoked(*steps, resume=True, ttl=timedelta(hours=5)).passed
    assert timedelta(hours=3.9) < expires[1] - expires[0] < timedelta(hours=4.1)


def test_more_time_is_deployed_before_the_rest(smoked: Smoked) -> None:
    class Killed(BaseException):
        """Nothing is stopped."""

    def die(_: Stage) -> None:
        raise Killed

    steps = smoked.step(DEPLOY), smoked.step("train", do=die)
    with pytest.raises(Killed):
        smoked(*steps)
    assert BACK not in smoked.make(*steps, resume=True)._steps()
    assert BACK in smoked.make(*steps, resume=True, ttl=timedelta(hours=5))._steps()


def test_credentials_that_run_out_fail_their_step_and_a_resume_goes_on(smoked: Smoked) -> None:
    def lose(_: Stage) -> None:
        smoked.account.unseen = EXPIRED if len(smoked.account.done) == 2 else None
        if smoked.account.unseen:
            raise EXPIRED

    steps = smoked.step("one"), smoked.step("two", do=lose), smoked.step("three")
    done = smoked(*steps)
    assert [(r.state, r.error) for r in done.results] == [("passed", None), ("failed", EXPIRED), ("not run", None)]
    assert done.unfinished
    smoked.account.unseen = None
    assert smoked(*steps, resume=True).passed


def test_a_report_names_nobody_and_answers_questions(smoked: Smoked) -> None:
    smoked.questions = (
        Question("one-asks", "Is it so?", "a page", "it is", 50, step="one", look=lambda _: "it was, in 123456789012"),
        Question("two-asks", "And so?", "a page", "it is", 40, step="two", otherwise="for training job usage"),
        Question("three-asks", "And then?", "a page", "it is", 40, step="three"),
        Question("none-asks", "And else?", "a page", "it is", 40, beyond="no step comes to it"),
    )
    smoked.account.refuses["two"] = NO_QUOTA
    smoked(smoked.step("one"), smoked.step("two"), smoked.step("three"))
    text = (smoked.project.folder / "report/report.json").read_text()
    assert "123456789012" not in text
    rows = {row["id"]: (row["state"], row["did"]) for row in json.loads(text)["questions"]}
    assert rows == {
        "one-asks": ("as assumed", "it was, in …"),
        "two-asks": ("otherwise", "the account: ResourceLimitExceeded: ml.m5.xlarge for training job usage"),
        "three-asks": ("not answered", "the step three was not run"),
        "none-asks": ("not answered", "no step comes to it"),
    }
    page = (smoked.project.folder / "report/report.html").read_text()
    assert "Smoke test on AWS" in page
    assert "Is it so?" in page
    assert "123456789012" not in page


def test_steps_have_names_of_their_own_and_need_earlier_ones() -> None:
    known: set[str] = set()
    for step in STEPS:
        assert step.id not in known
        assert set(step.needs) <= known, step.id
        known.add(step.id)


def test_only_chosen_steps_run_with_those_that_they_need_also_when_it_is_resumed(smoked: Smoked) -> None:
    steps = [smoked.step("one"), smoked.step("two"), smoked.step("three", "one")]
    smoked.account.refuses["three"] = NO_QUOTA
    smoked(*steps, only=["three"])
    smoked.account.refuses.clear()
    done = smoked(*steps, resume=True)
    assert [(r.step.id, r.state) for r in done.results] == [
        ("one", "passed"),
        ("three", "passed"),
        ("take-down", "passed"),
    ]
    assert "two" not in smoked.account.done


def test_an_unknown_step_is_refused_before_anything_is_made(smoked: Smoked) -> None:
    with pytest.raises(KitError, match="there is no step ten"):
        smoked(smoked.step("one"), only=["ten"])
    assert not smoked.folder.exists()


def test_another_recipe_is_trained_and_shortened_also_when_it_is_resumed(smoked: Smoked) -> None:
    folder = smoked.project.folder / "recipes"
    folder.mkdir()
    for path in (CHECKOUT / "recipes").glob("rehearsal*"):
        (folder / path.name).symlink_to(path)
    (folder / "mine.yaml").write_text((CHECKOUT / "recipes/rehearsal.yaml").read_text())
    seen: list[tuple[str, int, int]] = []

    def look(stage: Stage) -> None:
        recipe = Recipe.load(stage.world.project / stage.world.recipe)
        seen.append((stage.world.recipe, stage.world.most_steps, recipe.training.max_steps))

    steps = [smoked.step("one", do=look), smoked.step("two", "one", do=look)]
    smoked.account.refuses["two"] = NO_QUOTA
    smoked(*steps, recipe=folder / "mine.yaml", steps=4)
    smoked.account.refuses.clear()
    done = smoked(*steps, resume=True)
    assert seen == [("recipes/mine.yaml", 4, 4)] * 3
    assert (done.recipe, done.most_steps) == ("recipes/mine.yaml", 4)


def test_it_is_compared_with_the_last_one_on_a_twin(smoked: Smoked) -> None:
    assert smoked(smoked.step("one")).differences is None
    last = smoked.folder.parent / "last-aws.json"
    report = json.loads(last.read_text())
    report["steps"][0]["facts"] = {"made": "another"}
    last.write_text(json.dumps(report | {"twin": True}))
    assert smoked(smoked.step("one")).differences == ['one: made: "one" on the cloud, "another" on the twin']
    assert smoked(smoked.step("one")).differences is None
