"""Asking a chat judge for named scores: scales, readers of replies, repeated questions.

In: a question, pictures, a judge. Out: scores by name, or nothing where no reply
could be read, which is counted; never a number that the judge did not give. A reader is a pure
function from a reply to scores; a score outside its range makes the whole reply unreadable. Judges
that think aloud name their scores at the end, so the last mention of a score counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mogao.evaluation.providers.base import ChatJudge
from mogao.sequence import Pixels

Reader = Callable[[str], dict[str, float] | None]

RETRIES = 2

_NUMBER = r"-?\d+(?:\.\d+)?"
_MARKS = r"[*_`\"']*"
_SIGN = r"[:=|\uff1a]"  # the last one is the colon of Chinese text


@dataclass(frozen=True, slots=True)
class Scale:
    """Named scores of one range.

    Attributes:
        names: Lower case with "_"; in replies, case, spaces and hyphens do not matter.
        low: Least score.
        high: Largest score.
        is_whole: Whether a score with a fraction is refused.
    """

    names: tuple[str, ...]
    low: int
    high: int
    is_whole: bool = True

    def score(self, value: Any) -> float | None:
        """Return a number of the range as a float, None for all else."""
        if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not self.low <= value <= self.high or (self.is_whole and value != int(value)):
            return None
        return float(value)

    def scores(self, values: Mapping[str, Any]) -> dict[str, float] | None:
        """Return all scores, or None where one is missing or out of range."""
        found = {name: self.score(values.get(name)) for name in self.names}
        kept = {name: score for name, score in found.items() if score is not None}
        return kept if len(kept) == len(found) else None


def read_object(reply: str, scale: Scale) -> dict[str, float] | None:
    """Read scores from the last JSON object that names them all, wherever it stands in a reply.

    A score is a number, a number in quotes, or an object with a field "score". Broken JSON, such
    as a comma before the closing brace, is not repaired.
    """
    last = None
    for found in _objects(reply):
        values = {_plain(name): _inner(value) for name, value in found.items()}
        if all(name in values for name in scale.names):
            last = values
    return None if last is None else scale.scores(last)


def read_lines(reply: str, scale: Scale) -> dict[str, float] | None:
    """Read scores from lines such as "name: 3", "**Name** (0-5): 3/5" or "| name | 3 |"."""
    return scale.scores(find_lines(reply, scale))


def find_lines(reply: str, scale: Scale) -> dict[str, float]:
    """Return those scores that have a line of their own and lie in the range."""
    text = re.sub(r"[,;]\s+(?=[A-Za-z*\"'`])", "\n", reply)  # several scores on one line
    found: dict[str, float] = {}
    for name in scale.names:
        words = r"[\s_-]+".join(re.escape(word) for word in name.split("_"))
        line = re.compile(
            rf"^[\s*#>|\-\d.)`\"']*{words}(?:\s*\([^()\n]*\))?"
            rf"(?:\s*{_MARKS}\s*{_SIGN}\s*{_MARKS}\s*|\s+)({_NUMBER})"
            rf"(?:\s*(?:/|out\s+of)\s*{scale.high})?(?:[^\w%][^\d\n]*)?$",
            re.IGNORECASE | re.MULTILINE,
        )
        said = line.findall(text)
        score = scale.score(said[-1]) if said else None
        if score is not None:
            found[name] = score
    return found


def read_ordered(reply: str, scale: Scale) -> dict[str, float] | None:
    """Read as many numbers as there are names, in their order, whatever their labels.

    A number counts where it ends a line after a colon; a reply of nothing but numbers counts too.
    """
    said = re.findall(
        rf"^[^:\uff1a\n]*[:\uff1a]\s*{_MARKS}\s*({_NUMBER})"
        rf"(?:\s*(?:/|out\s+of)\s*{scale.high})?\W*$",
        reply,
        re.IGNORECASE | re.MULTILINE,
    )
    if not said and re.fullmatch(rf"[\s,;()\[\]]*(?:{_NUMBER}[\s,;()\[\].]*)+", reply):
        said = re.findall(_NUMBER, reply)
    if len(said) != len(scale.names):
        return None
    return scale.scores(dict(zip(scale.names, said, strict=True)))


def read_viescore(reply: str, scale: Scale) -> dict[str, float] | None:
    """Read `{"score": [a, b], "reasoning": ...}`, or a reply that is the bare list of scores.

    The public script also mends broken JSON and, when that fails twice, draws a random score; here
    such a reply is unreadable.

    Source: VIEScore, `mllm_output_to_dict`, as stepfun-ai/Step1X-Edit and BAGEL run it.
    """
    lists = [found["score"] for found in _objects(reply) if isinstance(found.get("score"), list)]
    if not lists and re.fullmatch(r"\s*\[[^\[\]{}]*\]\s*", reply):
        lists = [[part.strip() for part in reply.strip(" \n\t\r[]").split(",")]]
    if not lists or len(lists[-1]) != len(scale.names):
        return None
    return scale.scores(dict(zip(scale.names, lists[-1], strict=True)))


def labelled_numbers(reply: str) -> list[int]:
    """Return the whole numbers that ImgEdit's script takes from a reply, whatever their range.

    A line counts where ": " splits it into exactly two parts of which the second is all digits.

    Source: PKU-YuanGroup/ImgEdit, `Benchmark/Basic/step1_get_avgscore.py`.
    """
    lines = (line.strip().split(": ") for line in reply.splitlines())
    return [int(parts[1]) for parts in lines if len(parts) == 2 and parts[1].isdecimal()]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said to one question.

    Attributes:
        scores: By name; None where no reply could be read.
        replies: All of them, in order.
    """

    scores: dict[str, float] | None
    replies: tuple[str, ...]


def ask(
    judge: ChatJudge,
    text: str,
    *,
    pictures: Sequence[Pixels],
    read: Reader,
    retries: int = RETRIES,
) -> Verdict:
    """Ask until a reply can be read.

    Args:
        judge: Who is asked.
        text: The question.
        pictures: In the order in which the question speaks of them.
        read: Turns a reply into scores.
        retries: How often the question is put again. A judge without randomness would only say
            the same again, so that each further question says which try it is.
    """
    replies: list[str] = []
    for number in range(retries + 1):
        again = (
            f"\n\nTry {number + 1} of {retries + 1}: your reply before this one did not have the "
            "form that was asked for. Give the scores in exactly that form."
        )
        replies.append(judge.ask(text + again * (number > 0), pictures=pictures))
        scores = read(replies[-1])
        if scores is not None:
            return Verdict(scores, tuple(replies))
    return Verdict(None, tuple(replies))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """All JSON objects in a text, outer ones before those inside them."""
    decoder, start = json.JSONDecoder(), text.find("{")
    while start >= 0:
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield from _nested(found)
        start = text.find("{", end)


def _nested(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _nested(inner)


def _inner(value: Any) -> Any:
    """The field "score" of an object; anything else as it is."""
    if not isinstance(value, dict):
        return value
    return next((score for name, score in value.items() if _plain(name) == "score"), None)


def _plain(name: str) -> str:
    """A name as in `Scale`: "Image-Text Coherency" becomes "image_text_coherency"."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
