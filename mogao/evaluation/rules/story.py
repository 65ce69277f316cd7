"""Rules of told stories: sentences and pictures take turns, each picture as its sentence says.

In: a request, and the answer's texts and reports of a judge in reading order. Out: booleans. What
a sentence says is read in `mogao.evaluation.rules.story_text`; here pictures are held against it.

Source: own design, docs/decisions.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mogao.data.world import atlas
from mogao.data.world.language import Group
from mogao.evaluation.judges.report import Report
from mogao.evaluation.rules.story_text import ORDERS, STEPS, Request, Story, begin, tell

GROWTH = 1.15
"""Least factor on the size of what grew; sizes of the world lie 1.33 apart or more."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of an answer.

    Attributes:
        panels: Whether each picture is right.
        unreadable: Sentences before pictures that fit no template.
        wanted: Number of pictures that were asked for.
        hero: See `hero_constant`.
        order: See `order`.
        alternation: See `alternates`.
        stop: See `stops`.
    """

    panels: tuple[bool, ...]
    unreadable: tuple[str, ...]
    wanted: int
    hero: bool
    order: bool
    alternation: bool
    stop: bool

    @property
    def share(self) -> float:
        """Share of right panels; one that is missing or too many counts as wrong."""
        return sum(self.panels[: self.wanted]) / max(self.wanted, len(self.panels))

    @property
    def right(self) -> bool:
        """Whether everything is right."""
        return self.share == 1 and self.hero and self.order and self.alternation and self.stop


def follow(sentence: str, report: Report, story: Story) -> Story:
    """Return the story behind a panel.

    A place that no text has named is that of the picture. A sentence that cannot be read tells
    nothing.
    """
    told = tell(sentence, story) or story
    # Findings come largest first, so the last one to be stored must be the first.
    sizes = {one.concept: one.size for one in reversed(report.findings)}
    return replace(told, ground=told.ground or report.background or None, sizes=sizes)


def panel_right(sentence: str, report: Report, story: Story) -> bool:
    """Whether a picture shows what its sentence says, given the story before it.

    Things, their counts, and colours that are named must be as told, with nothing else in the
    picture; so must the place, where a text or an earlier picture has set one.
    """
    told = tell(sentence, story)
    if told is None or not shows_exactly(report, told.shown, ground=told.ground):
        return False
    thing = told.cast.get("thing")
    if thing is None or not STEPS[told.steps[-1]].grows:
        return True
    return report.named(thing.concept)[0].size >= GROWTH * story.sizes.get(thing.concept, 0.0)


def shows_exactly(report: Report, groups: Sequence[Group], *, ground: str | None = None) -> bool:
    """Whether a picture shows these things as often as they are named, and nothing else.

    Args:
        report: Of the picture.
        groups: The things; a colour counts where one is named.
        ground: The background; None leaves it free.
    """
    wanted: Counter[str] = Counter()
    for group in groups:
        wanted[group.concept] += group.count
    is_painted = all(
        sum(one.colour == group.colour for one in report.named(group.concept)) >= group.count
        for group in groups
        if group.colour is not None
    )
    found = Counter(one.concept for one in report.findings)
    return is_painted and found == wanted and ground in (None, report.background)


def alternates(parts: Sequence[str | Report]) -> bool:
    """Whether sentence and picture take turns, from a sentence to a picture."""
    turns = [isinstance(part, str) for part in _spoken(parts)]
    return bool(turns) and turns == [True, False] * (len(turns) // 2)


def stops(parts: Sequence[str | Report], wanted: int) -> bool:
    """Whether there are as many pictures as were asked for."""
    return sum(isinstance(part, Report) for part in parts) == wanted


def hero_constant(reports: Sequence[Report], hero: Group) -> bool:
    """Whether the hero is in every picture and looks alike: one style, one colour.

    That colour is the one that was asked for, if one was; the style does not count where all styles
    draw the hero alike. There must be a picture.
    """
    looks = set()
    styled = not atlas.alike(hero.concept, hero.colour)
    for report in reports:
        found = report.named(hero.concept)
        if not found:
            return False
        looks.add((found[0].style if styled else None, found[0].colour))
    return len(looks) == 1 and hero.colour in (None, *(colour for _, colour in looks))


def order(sentences: Sequence[str], request: Request) -> bool:
    """Whether sentences tell a story that a plot allows, about the hero and from the place asked.

    The plot is that of the request, if it names one. All that is named as known must have been
    introduced, and all counts must be true.
    """
    story = begin(request)
    for sentence in sentences:
        told = tell(sentence, story)
        if told is None:
            return False
        story = told
    plots = ORDERS if request.theme is None else [request.theme]
    steps = " ".join(story.steps)
    return story.is_coherent and any(re.fullmatch(ORDERS[plot], steps) for plot in plots)


def judge(parts: Sequence[str | Report], request: Request) -> Verdict:
    """Apply all rules to an answer; the sentence of a picture is the text just before it."""
    parts = _spoken(parts)
    story, panels, unreadable = begin(request), [], []
    for before, part in zip(["", *parts], parts, strict=False):
        if isinstance(part, str):
            continue
        sentence = before if isinstance(before, str) else ""
        if tell(sentence, story) is None:
            unreadable.append(sentence)
        panels.append(panel_right(sentence, part, story))
        story = follow(sentence, part, story)
    reports = [part for part in parts if isinstance(part, Report)]
    return Verdict(
        panels=tuple(panels),
        unreadable=tuple(unreadable),
        wanted=request.panels,
        hero=hero_constant(reports, request.hero),
        order=order([part for part in parts if isinstance(part, str)], request),
        alternation=alternates(parts),
        stop=stops(parts, request.panels),
    )


def _spoken(parts: Sequence[str | Report]) -> list[str | Report]:
    """All parts but empty texts."""
    return [part for part in parts if not isinstance(part, str) or part.strip()]
