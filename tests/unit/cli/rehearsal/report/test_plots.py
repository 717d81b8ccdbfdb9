"""The plots of a rehearsal's page: a load at a time, and labels that stand apart."""

from llmops_kit.cli.pages.svg import curves
from llmops_kit.cli.rehearsal.report.plots import latency, quality, rate
from llmops_kit.cli.rehearsal.steps import Request, Timeline


def request(at: float) -> Request:
    return Request(at=at, seconds=0.2, ok=True, words="")


def test_two_loads_are_two_plots_without_the_time_between() -> None:
    timeline = Timeline(requests=[request(at) for at in (100, 101, 102, 300, 301)])
    for plot, mark in ((latency, '<circle class="dot"'), (rate, '<rect class="bar"')):
        first, second = plot(timeline, 400.0).split("</svg>")[:2]
        assert (first.count(mark), second.count(mark)) == (3, 2)
        assert "1:40" in first
        assert "3:20" not in first
        assert "5:00" in second


def test_each_axis_has_its_unit() -> None:
    timeline = Timeline(requests=[request(at) for at in (100, 101)])
    assert ">min:s</text>" in rate(timeline, 400.0)
    drawn = curves("Loss", "nats", {"loss": [(1.0, 2.0), (9.0, 1.0)]})
    assert ">step</text>" in drawn
    assert ">nats</text>" in drawn


def test_nothing_is_drawn_of_no_requests() -> None:
    assert latency(Timeline(), 10.0) == rate(Timeline(), 10.0) == ""


def test_a_version_is_named_where_it_begins_and_not_at_every_look() -> None:
    looks = [(10.0, 1.0, "a@1"), (20.0, 1.0, "a@1"), (50.0, 0.0, "a@2"), (60.0, 1.0, "a@1"), (90.0, 1.0, "a@2")]
    drawn = quality(Timeline(quality=looks), 100.0)
    assert drawn.count("<circle") == 5
    assert (drawn.count(">a@1</text>"), drawn.count(">a@2</text>")) == (1, 2)
