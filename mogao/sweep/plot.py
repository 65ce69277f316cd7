"""A picture of one benchmark: every score of every arm, and its difference from the baseline.

In: lines of the comparison. Out: SVG that needs nothing beside it. A dot is the mean over seeds,
the thick bar reaches from the least to the most of them, the thin one is the interval over prompts
(of a score or of a difference) and the tick the ceiling. Scores between 0 and 1 share one axis,
others have their own.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from mogao.sweep.scores import Line

COLOURS = ("#4c6a85", "#c4622d", "#2f8f6b", "#8a5aa8", "#b8912f", "#a03f57")
"""Of the arms, in turn."""
_LABELS, _PANEL, _NUMBERS, _GAP_NUMBERS = 190, 300, 150, 240  # widths, pixels
_ROW, _GAP, _TOP = 16, 12, 76
_GAPS_AT = _LABELS + _PANEL + _NUMBERS
_WIDTH = _GAPS_AT + _PANEL + _GAP_NUMBERS


def plot(title: str, lines: Sequence[Line]) -> str:
    """Return the picture of a benchmark's scores."""
    arms = list(dict.fromkeys(line.arm for line in lines))
    colours = {arm: COLOURS[number % len(COLOURS)] for number, arm in enumerate(arms)}
    parts, top = [_head(title, colours)], _TOP
    for name in dict.fromkeys(line.score for line in lines):
        own = [line for line in lines if line.score == name]
        parts.append(f'<text x="8" y="{top + 11}">{html.escape(name)}</text>')
        largest, widest = _reach(own), _widest(own)
        for number, line in enumerate(own):
            parts += _marks(line, colours[line.arm], top + number * _ROW, largest=largest)
            parts += _gap_marks(line, colours[line.arm], top + number * _ROW, widest=widest)
        top += len(own) * _ROW + _GAP
    size = f'width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}"'
    style = 'font-family="system-ui, sans-serif" font-size="12"'
    sheet = f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    return "\n".join([head, sheet, *parts, "</svg>\n"])


def _head(title: str, colours: dict[str, str]) -> str:
    """Title, arms, and what the two panels show."""
    parts = [f'<text x="8" y="22" font-size="16">{html.escape(title)}</text>']
    left = _LABELS
    for arm, colour in colours.items():
        parts.append(f'<circle cx="{left}" cy="18" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{left + 8}" y="22">{html.escape(arm)}</text>')
        left += 30 + 7 * len(arm)
    note = "dot: mean over seeds; thick: least to most; thin: 95 % over prompts; tick: ceiling"
    parts.append(f'<text x="{_LABELS}" y="44" fill="#6e6e73">{note}</text>')
    gaps = f"difference from {next(iter(colours))}, paired by seed +- error (95 % over prompts)"
    parts.append(f'<text x="{_GAPS_AT}" y="44" fill="#6e6e73">{html.escape(gaps)}</text>')
    return "\n".join(parts)


def _reach(lines: Sequence[Line]) -> float:
    """End of the axis of a score: 1, or what the largest number needs."""
    ends = [max(line.value.most, line.prompts[1], line.ceiling or 0.0) for line in lines]
    return max(ends) if max(ends) > 1 else 1.0


def _widest(lines: Sequence[Line]) -> float:
    """Largest difference of a score; something small where there is none."""
    gaps = [line.difference for line in lines if line.difference is not None]
    ends = [end for gap in gaps for end in (gap.least, gap.most)]
    ends += [end for line in lines for end in line.difference_prompts or ()]
    return max([*map(abs, ends), 1e-9])


def _marks(line: Line, colour: str, top: int, *, largest: float) -> list[str]:
    """Bars, dot and number of a score."""

    def x(value: float) -> float:
        return _LABELS + _PANEL * min(max(value / largest, 0.0), 1.0)

    y, value = top + 7, line.value
    said = f"{value.mean:.3f} ({value.least:.3f} to {value.most:.3f})"
    parts = [
        f'<path d="M{_LABELS} {y}h{_PANEL}" stroke="#e6e4df"/>',
        _bar(x(line.prompts[0]), x(line.prompts[1]), y, colour=colour, width=1),
        _bar(x(value.least), x(value.most), y, colour=colour, width=4),
        f'<circle cx="{x(value.mean):.1f}" cy="{y}" r="4" fill="{colour}"/>',
        f'<text x="{_LABELS + _PANEL + 10}" y="{y + 4}">{said}</text>',
    ]
    if line.ceiling is not None:
        parts.append(f'<path d="M{x(line.ceiling):.1f} {y - 6}v12" stroke="#1d1d1f"/>')
    return parts


def _gap_marks(line: Line, colour: str, top: int, *, widest: float) -> list[str]:
    """Bars, dot and numbers of a difference, around a line at zero."""
    gap, y = line.difference, top + 7
    middle = _GAPS_AT + _PANEL / 2
    zero = f'<path d="M{middle} {y - 8}v16" stroke="#b5b2ab"/>'
    if gap is None:
        return [zero]

    def x(value: float) -> float:
        return middle + _PANEL / 2 * value / widest

    said, thin = f"{gap.mean:+.3f}", []
    if gap.standard_error is not None:
        said += f" +- {gap.standard_error:.3f}"
    if line.difference_prompts is not None:
        low, high = line.difference_prompts
        said += f" ({low:+.3f} to {high:+.3f})"
        thin = [_bar(x(low), x(high), y, colour=colour, width=1)]
    return [
        zero,
        *thin,
        _bar(x(gap.least), x(gap.most), y, colour=colour, width=4),
        f'<circle cx="{x(gap.mean):.1f}" cy="{y}" r="4" fill="{colour}"/>',
        f'<text x="{_GAPS_AT + _PANEL + 10}" y="{y + 4}">{said}</text>',
    ]


def _bar(left: float, right: float, y: int, *, colour: str, width: int) -> str:
    return (
        f'<path d="M{left:.1f} {y}H{right:.1f}" stroke="{colour}" stroke-width="{width}" '
        'stroke-opacity="0.6"/>'
    )
