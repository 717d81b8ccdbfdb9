"""Draws plots as SVG, without scripts, fonts or pictures from elsewhere."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 960, 64, 16, 26, 24
PLOT = 130
"""Height of a plot between its top and its axis."""

_BAR, _BAR_LEFT, _BAR_RIGHT, _BAR_NAME = 23, 190, 90, 28
"""Of `bars`: a bar's height, the space before and behind it, and the maximum characters of a name."""

Points = Sequence[tuple[float, float]]
_TIMES = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 86_400)


class Axis:
    """The horizontal axis from `begin` to `end`: seconds, or steps if `clock` is false."""

    def __init__(self, end: float, height: float, begin: float = 0.0, clock: bool = True) -> None:
        self._begin, self._end, self._height, self._clock = begin, max(end, begin + 1.0), height, clock

    def x(self, at: float) -> float:
        """Returns the x coordinate of a value."""
        share = (at - self._begin) / (self._end - self._begin)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def holds(self, at: float) -> bool:
        """Returns whether the axis includes a value."""
        return self._begin <= at <= self._end

    def draw(self) -> list[str]:
        """Returns the grid lines with their values, and the axis's unit before the first one."""
        span = self._end - self._begin
        step = next(s for s in _TIMES if span / s <= 12) if self._clock else max(1.0, nice(span / 12))
        unit = "min:s" if self._clock else "step"
        parts = [f'<text class="tick" x="0" y="{self._height - 8}">{unit}</text>']
        for number in range(math.ceil(self._begin / step), math.floor(self._end / step) + 1):
            x, at = self.x(number * step), number * step
            label = _clock(at) if self._clock else f"{at:.0f}"
            parts.append(f'<path class="grid" d="M{x:.1f} {TOP - 6}V{self._height - BOTTOM}"/>')
            parts.append(f'<text class="tick mid" x="{x:.1f}" y="{self._height - 8}">{label}</text>')
        return parts


def scale(most: float, unit: str) -> list[str]:
    """Returns horizontal lines from 0 to `most`, with their values."""
    parts = [f'<text class="tick" x="0" y="{TOP - 10}">{escape(unit)}</text>']
    for share in (0.0, 0.5, 1.0):
        at = height_of(share * most, most)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick end" x="{LEFT - 8}" y="{at + 4:.1f}">{share * most:.4g}</text>')
    return parts


def height_of(value: float, most: float) -> float:
    """Returns the y coordinate of a value between 0 and `most`."""
    return TOP + PLOT - min(value / most, 1.0) * PLOT


def nice(value: float) -> float:
    """Rounds up to 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * 0.999)


def svg(title: str, height: float, parts: Sequence[str]) -> str:
    """Returns the picture of its parts."""
    body = "\n".join(parts)
    return f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height:.0f}">\n{body}\n</svg>'


def curves(title: str, unit: str, series: Mapping[str, Points]) -> str:
    """Draws lines over training steps: name -> (step, value), values at least 0, with their names above the plot.

    Returns:
        SVG; empty if no series has a point.
    """
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        return ""
    height = TOP + PLOT + BOTTOM
    most = nice(max(value for points in drawn.values() for _, value in points))
    axis = Axis(max(at for points in drawn.values() for at, _ in points), height, clock=False)
    parts = [*axis.draw(), *scale(most, unit)]
    for number, (name, points) in enumerate(drawn.items()):
        path = "L".join(f"{axis.x(at):.1f} {height_of(value, most):.1f}" for at, value in points)
        kind = "line" if number == 0 else "line other"
        parts.append(f'<path class="{kind}" d="M{path}"><title>{escape(name)}</title></path>')
        for at, value in points if len(points) <= 60 or number else ():
            tip = f"<title>{escape(name)} {value:.4g} at step {at:.0f}</title>"
            dot = "dot" if number == 0 else "dot other"
            parts.append(
                f'<circle class="{dot}" cx="{axis.x(at):.1f}" cy="{height_of(value, most):.1f}" r="2.5">{tip}</circle>'
            )
        place = f'x="{WIDTH - RIGHT - 130 * (len(drawn) - 1 - number)}" y="{TOP - 10}"'
        parts.append(f'<text class="end {"first" if number == 0 else "second"}" {place}>{escape(name)}</text>')
    return svg(title, height, parts)


def bars(title: str, values: Mapping[str, float]) -> str:
    """Draws a horizontal bar for each name, with its value behind it.

    Returns:
        SVG; empty if no value is above 0.
    """
    most = max(values.values(), default=0)
    if most <= 0:
        return ""
    parts = []
    for number, (name, value) in enumerate(values.items()):
        y, width = number * _BAR, (WIDTH - _BAR_LEFT - _BAR_RIGHT) * value / most
        shown = name if len(name) <= _BAR_NAME else f"{name[: _BAR_NAME - 1]}…"
        parts.append(f'<text class="label end" x="{_BAR_LEFT - 10}" y="{y + 15}">{escape(shown)}</text>')
        parts.append(
            f'<rect class="bar" x="{_BAR_LEFT}" y="{y + 3}" width="{max(width, 1):.1f}" height="16" rx="2">'
            f"<title>{escape(name)}: {value:,g}</title></rect>"
        )
        parts.append(f'<text x="{_BAR_LEFT + width + 8:.1f}" y="{y + 15}">{value:,.0f}</text>')
    return svg(title, len(values) * _BAR, parts)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
