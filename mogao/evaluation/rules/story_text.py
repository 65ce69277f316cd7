"""Sentences of told stories: what each says is in its picture, read by a table of templates.

In: a request, then sentence by sentence. Out: a small state: who is beside the hero, how many,
where, and which steps of a plot were taken. Names, counts and places come from the sentences
themselves, never from the story that a generator had in mind.

Source: own design, docs/decisions.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache

from mogao.data.world import atlas
from mogao.data.world.backgrounds import BACKGROUNDS
from mogao.data.world.colours import COLOURS
from mogao.data.world.language import NUMBERS, Group, on_ground
from mogao.data.world.stories import PLOTS
from mogao.errors import DataError


@dataclass(frozen=True, slots=True)
class Step:
    """A kind of sentence.

    Attributes:
        template: Its words; "{the thing}" is a phrase of that form for that role, "{ground}" a
            place. A new thing ("a", "a small", "another") is added to the picture, "the" names one
            that is there, "all" says how many there are now.
        gone: Roles that the picture shows no longer.
        grows: Whether the thing is larger than in the picture before.
    """

    template: str
    gone: tuple[str, ...] = ()
    grows: bool = False


STEPS = {
    "wait": Step("{a hero} waits {ground}"),
    "alone": Step("{a hero} is alone {ground}"),
    "own": Step("{a hero} has {a thing} {ground}"),
    "see": Step("{a hero} finds {small thing}"),
    "small": Step("{the hero} finds {small thing}"),
    "find": Step("{the hero} finds {a thing}"),
    "more": Step("{the hero} finds {another thing} and now has {all thing}"),
    "happy": Step("{the hero} is happy with {all thing}"),
    "walk": Step("then {the hero} walks {ground}"),
    "reach": Step("at last {the hero} finds {a thing} {ground}"),
    "meet": Step("{the hero} meets {a friend}"),
    "share": Step("{the hero} and {the friend} find {a thing}"),
    "too": Step("then they find {a thing} too"),
    "part": Step("{the friend} goes home and {the hero} is alone again", ("friend", "thing")),
    "grow": Step("{the thing} grows", grows=True),
    "large": Step("now {the thing} is large", grows=True),
    "leave": Step("{the hero} goes home without {the thing}", ("thing",)),
    "lose": Step("one day {the thing} is gone", ("thing",)),
    "look": Step("{the hero} looks for it {ground}"),
    "help": Step("{a friend} comes to help"),
    "again": Step("{the hero} finds {the thing} again", ("friend",)),
}
ORDERS = {
    "collect": "wait find( more)* happy",
    "journey": "wait( walk)+ reach",
    "friend": "alone meet share( too( part)?)?",
    "grow": "(wait small|see) grow large( leave)?",
    "lost": "own lose( look( help)?)? again",
}
"""Steps that each plot allows, as a regular expression over their names."""
_FORMS = {
    "a": "an? ",
    "small": "a small ",
    "another": "another ",
    "the": "the ",
    "all": f"(?P<count>an?|{'|'.join(NUMBERS[2:])}) ",
}
_NEW = ("a", "small", "another")
_SLOT = re.compile(r"\{(\w+)(?: (\w+))?\}")


@dataclass(frozen=True, slots=True)
class Request:
    """What a story was asked to be.

    Attributes:
        hero: Whom it is about.
        panels: Number of pictures.
        theme: A key of `ORDERS`, or None where the plot is left free.
        ground: Where it begins, or None where that is left free.
    """

    hero: Group
    panels: int
    theme: str | None = None
    ground: str | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """A story so far.

    Attributes:
        cast: Role (hero, friend, thing) to who or what was last named in it.
        beside: (role, what) to how many the last picture is to show beside the hero.
        ground: Where it plays; None until a text has said or a picture has shown it.
        steps: Kinds of its sentences.
        is_coherent: Whether all that was named as known was known, and all counts were true.
        sizes: Concept to the size of the largest one in the last picture, pixels of the canvas.
    """

    cast: Mapping[str, Group]
    beside: Mapping[tuple[str, Group], int] = field(default_factory=dict)
    ground: str | None = None
    steps: tuple[str, ...] = ()
    is_coherent: bool = True
    sizes: Mapping[str, float] = field(default_factory=dict)

    @property
    def shown(self) -> list[Group]:
        """All that the picture of the last sentence is to show."""
        others = [replace(what, count=count) for (_, what), count in self.beside.items()]
        return [self.cast["hero"], *others]


def read_request(text: str) -> Request:
    """Read "A story about a red fox that collects things in a meadow, in four pictures.".

    Raises:
        DataError: The text is no such request.
    """
    found = _request_pattern().fullmatch(_plain(text))
    if found is None:
        raise DataError(
            f"cannot read {text!r} as a request for a story; expected, say, 'A story about a red "
            "fox that collects things in a meadow, in four pictures.'"
        )
    words = found.groupdict()
    theme = next((name for name, (hint, _) in PLOTS.items() if hint == words["hint"]), None)
    ground = _grounds()[words["ground"]] if words["ground"] else None
    return Request(_group(words["a_hero"]), NUMBERS.index(words["panels"]), theme, ground)


def begin(request: Request) -> Story:
    """Return the story of which nothing is told yet."""
    return Story({"hero": request.hero}, ground=request.ground)


def tell(sentence: str, story: Story) -> Story | None:
    """Return the story with one more sentence; None where the sentence fits no template.

    What the sentence says counts for its picture even where it contradicts what came before.
    """
    read = _read(_plain(sentence))
    return None if read is None else _told(*read, story)


@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[str, Mapping[str, str]] | None:
    """The kind of a sentence and the words in its slots."""
    for name, pattern in _patterns().items():
        found = pattern.fullmatch(text)
        if found is not None:
            return name, found.groupdict()
    return None


def _told(name: str, words: Mapping[str, str], story: Story) -> Story:
    """The story behind a sentence whose slots hold these words."""
    step = STEPS[name]
    phrases = dict(words)
    place, said = phrases.pop("ground", None), phrases.pop("count", "")
    ground = _grounds()[place] if place else story.ground
    cast = dict(story.cast)
    beside = {key: count for key, count in story.beside.items() if key[0] not in step.gone}
    is_coherent = story.is_coherent
    if not story.steps:  # a story begins where the request says
        is_coherent &= story.ground in (None, ground)
    for slot, phrase in phrases.items():
        form, role = slot.split("_")
        what = _group(phrase)
        if role == "hero" or form not in ("a", "small"):
            is_coherent &= cast.get(role) == what
        cast[role] = what
        if role == "hero" or role in step.gone:
            continue
        before = beside.get((role, what), 0)
        after = before + 1 if form in _NEW else max(before, 1)
        if form == "all":
            after = NUMBERS.index(said) if said in NUMBERS else 1
            is_coherent &= after == before
        beside[role, what] = after
    return Story(cast, beside, ground, (*story.steps, name), is_coherent)


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).removesuffix(".")


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {name: re.compile(_filled(step.template)) for name, step in STEPS.items()}


@cache
def _request_pattern() -> re.Pattern[str]:
    hints = "|".join(hint for hint, _ in PLOTS.values())
    return re.compile(
        _filled("a story about {a hero}")
        + f"(?: (?P<hint>{hints}))?"
        + _filled("(?: {ground})?")
        + f", in (?P<panels>{'|'.join(NUMBERS[1:])}) pictures?"
    )


def _filled(template: str) -> str:
    """A template as a regular expression: one group for each slot, named "form_role"."""
    noun = f"(?:(?:{'|'.join(COLOURS)}) )?(?:{'|'.join(_names())})"

    def fill(slot: re.Match[str]) -> str:
        form, role = slot.groups()
        if role is None:
            return f"(?P<ground>{'|'.join(_grounds())})"
        return f"{_FORMS[form]}(?P<{form}_{role}>{noun})"

    return _SLOT.sub(fill, template)


@cache
def _names() -> dict[str, str]:
    """Words to concepts, plurals too: a slip of grammar is no fault of a story."""
    known = atlas.concepts().values()
    return {name: one.id for one in known for name in (one.id, one.singular, one.plural)}


@cache
def _grounds() -> dict[str, str]:
    return {on_ground(name): name for name in BACKGROUNDS}


def _group(phrase: str) -> Group:
    """A noun with or without a colour; "orange" alone is the fruit."""
    names = _names()
    if phrase in names:
        return Group(names[phrase])
    colour, _, name = phrase.partition(" ")
    return Group(names[name], colour)
