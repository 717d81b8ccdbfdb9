"""Draws a report's plots as SVG, without scripts, fonts or pictures from elsewhere."""

from collections.abc import Sequence
from html import escape

from llmops_kit.cli.pages.svg import BOTTOM, PLOT, TOP, WIDTH, Axis, height_of, nice, scale, svg
from llmops_kit.cli.rehearsal.steps import ENDED_WELL, Request, Result, Timeline

_BAR, _GAP = 16, 5
_PAUSE_SECONDS = 15.0
"""Minimum pause between two loads; a plot of both would mostly show the pause."""


def gantt(results: Sequence[Result], seconds: float) -> str:
    """Draws a bar for each step that ran, over the rehearsal's time."""
    ran = [r for r in results if r.state != "not run"]
    height = TOP + len(ran) * (_BAR + _GAP) + BOTTOM
    axis = Axis(seconds, height)
    parts = axis.draw()
    for row, result in enumerate(ran):
        y = TOP + row * (_BAR + _GAP)
        x, width = axis.x(result.began), max(2.0, axis.x(result.began + result.seconds) - axis.x(result.began))
        label = f"{result.step.id} {result.seconds:.1f} s"
        tip = f"<title>{escape(result.step.title)}: {result.seconds:.1f} s, {escape(result.step.mark)}</title>"
        kind = "bad" if result.state not in ENDED_WELL else f"mark-{result.step.mark}"
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3">{tip}</rect>'
        )
        if x + width + 7 * len(label) < WIDTH:
            parts.append(f'<text class="label" x="{x + width + 6:.1f}" y="{y + 12}">{escape(label)}</text>')
        else:
            parts.append(f'<text class="label end" x="{x - 6:.1f}" y="{y + 12}">{escape(label)}</text>')
    return svg("Steps over time", height, parts)


def latency(timeline: Timeline, seconds: float) -> str:
    """Draws each request by its start and duration, one plot per load; failed ones stand out."""
    most = nice(max((r.seconds for r in timeline.requests), default=0.0) * 1000)
    return "\n".join(_latency(load, timeline, seconds, most) for load in _loads(timeline.requests))


def _latency(requests: Sequence[Request], timeline: Timeline, seconds: float, most: float) -> str:
    window = _window([r.at for r in requests], seconds)
    height = TOP + PLOT + BOTTOM
    axis = Axis(window[1], height, window[0])
    parts = [*axis.draw(), *scale(most, "ms"), *_marks(timeline, axis, height)]
    parts += [_dot(request, axis, most) for request in requests]
    return svg("Latency of the requests", height, parts)


def _dot(request: Request, axis: "Axis", most: float) -> str:
    x, y = axis.x(request.at), height_of(request.seconds * 1000, most)
    if request.ok:
        tip = f"<title>{request.seconds * 1000:.0f} ms at {request.at:.1f} s</title>"
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="2.5">{tip}</circle>'
    tip = f"<title>failed at {request.at:.1f} s: {escape(request.words)}</title>"
    return f'<path class="cross" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8">{tip}</path>'


def rate(timeline: Timeline, seconds: float) -> str:
    """Draws requests per second, answered and failed, in bars of one second, one plot per load."""
    return "\n".join(_rate(load, timeline, seconds) for load in _loads(timeline.requests))


def _rate(requests: Sequence[Request], timeline: Timeline, seconds: float) -> str:
    window = _window([r.at for r in requests], seconds)
    counts: dict[int, list[int]] = {}
    for request in requests:
        counts.setdefault(int(request.at), [0, 0])[0 if request.ok else 1] += 1
    most = nice(max(sum(c) for c in counts.values()))
    height = TOP + PLOT + BOTTOM
    axis = Axis(window[1], height, window[0])
    parts = [*axis.draw(), *scale(most, "a second"), *_marks(timeline, axis, height)]
    width = max(1.0, axis.x(window[0] + 1) - axis.x(window[0]) - 1)
    for at, (good, bad) in sorted(counts.items()):
        tip = f"<title>{good} answered, {bad} failed in second {at}</title>"
        for low, count, kind in ((0, good, "bar"), (good, bad, "bad")):
            if count:
                y, bottom = height_of(low + count, most), height_of(low, most)
                parts.append(
                    f'<rect class="{kind}" x="{axis.x(at):.1f}" y="{y:.1f}" width="{width:.1f}" '
                    f'height="{bottom - y:.1f}">{tip}</rect>'
                )
    return svg("Requests a second", height, parts)


def quality(timeline: Timeline, seconds: float) -> str:
    """Draws the share of golden prompts that each server answered correctly, over time."""
    if not timeline.quality:
        return ""
    height = TOP + PLOT + BOTTOM
    axis = Axis(seconds, height)
    parts = [*axis.draw(), *scale(1.0, "share"), *_marks(timeline, axis, height)]
    labelled: dict[float, tuple[str, float]] = {}  # height -> model and end of the last label
    for at, score, model in timeline.quality:
        x, y, kind = axis.x(at), height_of(score, 1.0), "dot" if score >= 1 else "bad"
        tip = f"<title>{escape(model)}: {score:.2f} at {at:.1f} s</title>"
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4">{tip}</circle>')
        last, end = labelled.get(score, ("", 0.0))
        fits = x + 8 + 7 * len(model) < WIDTH
        if last == model or x - (0 if fits else 7 * len(model)) < end:
            continue
        labelled[score] = (model, x + 8 + 7 * len(model))
        place = f'class="label{"" if fits else " end"}" x="{x + (8 if fits else -8):.1f}"'
        parts.append(f'<text {place} y="{y + (14 if score > 0.5 else -6):.1f}">{escape(model)}</text>')
    return svg("Quality", height, parts)


def held(points: Sequence[tuple[float, float]], seconds: float, title: str, unit: str, timeline: Timeline) -> str:
    """Draws a value that holds until the next one, over time."""
    if not points:
        return ""
    most = nice(max(v for _, v in points) or 1.0)
    height = TOP + PLOT + BOTTOM
    axis = Axis(seconds, height)
    path = f"M{axis.x(points[0][0]):.1f} {height_of(points[0][1], most):.1f}"
    for at, value in points[1:]:
        path += f"H{axis.x(at):.1f}V{height_of(value, most):.1f}"
    path += f"H{axis.x(seconds):.1f}"
    parts = [*axis.draw(), *scale(most, unit), *_marks(timeline, axis, height)]
    parts.append(f'<path class="line" d="{path}"/>')
    for at, value in points:
        tip = f"<title>{value:.4g} {escape(unit)} at {at:.1f} s</title>"
        parts.append(
            f'<circle class="dot" cx="{axis.x(at):.1f}" cy="{height_of(value, most):.1f}" r="2.5">{tip}</circle>'
        )
    return svg(title, height, parts)


def _marks(timeline: Timeline, axis: Axis, height: float) -> list[str]:
    """Draws a line for each event, with its words in the tooltip and, if there is room, beside it."""
    parts, free = [], 0.0
    for at, words in timeline.marks:
        if not axis.holds(at):
            continue
        x = axis.x(at)
        parts.append(
            f'<path class="event" d="M{x:.1f} {TOP - 6}V{height - BOTTOM}"><title>{escape(words)}</title></path>'
        )
        if x >= free and x + 6 * len(words) < WIDTH:
            parts.append(f'<text class="event-text" x="{x + 3:.1f}" y="{TOP - 10}">{escape(words)}</text>')
            free = x + 6 * len(words) + 12
    return parts


def _loads(requests: Sequence[Request]) -> list[list[Request]]:
    """Returns the requests in the order in which they were sent, split at pauses."""
    loads: list[list[Request]] = []
    for request in sorted(requests, key=lambda r: r.at):
        if not loads or request.at - loads[-1][-1].at > _PAUSE_SECONDS:
            loads.append([])
        loads[-1].append(request)
    return loads


def _window(times: Sequence[float], seconds: float) -> tuple[float, float]:
    """Returns an interval slightly longer than that of the measurements."""
    return max(0.0, min(times) - 2), min(seconds, max(times) + 2)
