"""MMBench: multiple choice, where a question counts if it is right in every order of its options.

In: a TSV file with `index, question, hint, A..E, answer, category, l2-category, image`. Out: items;
accuracy overall, for each group of abilities and each ability. Rotations of one question have the
same index modulo a million. `circular` wants all of them right, `plain` looks at the first alone.

An answer in which the parser finds no option is counted as a parse failure under every protocol.
`.../unmatched-wrong` takes it as wrong. `official` and `plain-matched` ask a language model (tool
`judge`) which option it means, up to three times, and say so in `asked`; as in the public script a
letter is drawn at random where no reply names one (`random_fallbacks`), and the letter behind the
options means "none of them", also in an answer. The words that the judge is told are ours or those
of a file of templates, as the end of the protocol's name says.

Source: arXiv 2307.06281, sections 4.2 and 4.3; open-compass/opencompass, tools/eval_mmbench.py.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mogao.errors import DataError
from mogao.evaluation.benchmark import Item, Output, Row
from mogao.evaluation.parsing import mmbench_option
from mogao.evaluation.providers.base import ChatJudge, Tools
from mogao.evaluation.scores import Score, summarise
from mogao.evaluation.tables import by_group, over_items
from mogao.evaluation.tasks.judged import load_templates
from mogao.evaluation.tasks.records import distinct, document, field, picture_base64, read_table
from mogao.evaluation.tasks.statistics import PERCENT, merged, parse_failures
from mogao.evaluation.tasks.text_answers import TextBenchmark, said, with_options

_ROTATION = 1_000_000  # rotation r of question q has the index r * _ROTATION + q
_LETTERS = string.ascii_uppercase[:5]
_LONGEST_INDEX = 16  # a shorter cell in the column of pictures is the index of another row
_CIRCULAR, _PLAIN = "circular/unmatched-wrong", "plain/unmatched-wrong"
_OFFICIAL, _PLAIN_MATCHED = "official", "plain-matched"
_TRIES = 3
_SEED = 2680
_NO_OPTION, _NO_REPLY = "no option", "judge: no option"
_TEMPLATE = """Somebody answered a question with one right option in free words. Say which option
the answer means, as one capital letter and nothing else. If it means none of the options or more
than one of them, say {none}.

Question: What does the picture show?
Options: A. pear B. plum C. cup D. hat
Answer: Some yellow fruit, green at the stalk, rather like an apple with a neck.
Letter: A

Question: What does the picture show?
Options: A. pear B. plum C. cup D. hat
Answer: A bridge.
Letter: {none}

Question: {question}
Options: {options}
Answer: {answer}
Letter:"""
_AGAIN = "\n\nTry {} of {}: your last reply was not one letter. One capital letter alone:"


class MmBench(TextBenchmark):
    """The benchmark; its pictures lie in the records."""

    name = "mmbench"

    def __init__(
        self, data: Path, *, images: Path | None = None, templates: Path | None = None
    ) -> None:
        """Remember where things lie.

        Args:
            data: Record file.
            images: Not needed, as the records hold the pictures.
            templates: JSON object with the judge's text under "mmbench", with places {question},
                {options}, {answer} and {none}; None takes our own words.

        Raises:
            DataError: The templates are not valid.
        """
        super().__init__(data, images=images)
        self._templates = load_templates(templates, {"mmbench": _TEMPLATE})
        matched = self._templates.protocols((_OFFICIAL, _PLAIN_MATCHED))
        self.protocols: tuple[str, ...] = (_CIRCULAR, _PLAIN, *matched)

    def items(self) -> Sequence[Item]:
        """Return one item a row, rotations included.

        Raises:
            DataError: The records break their format, or hold no answers, as the test files.
        """
        rows = read_table(self.data, delimiter="\t")
        pictures = {row.get("index", ""): row.get("image", "") for row in rows}
        items = [
            self._item(row, pictures, where=f"{self.data}: record {number}")
            for number, row in enumerate(rows, 1)
        ]
        return distinct(items, path=self.data)

    def score(
        self,
        item: Item,
        outputs: Sequence[Output],
        *,
        tools: Tools,
        protocol: str,
    ) -> Row:
        """Read the option; ask the judge where the protocol has one and the parser finds none.

        Raises:
            ConfigError: There is no tool `judge`, which the protocol needs, or no such protocol.
        """
        text, options = said(outputs), item.truth["options"]
        rule = self._rule(protocol)
        none = next(letter for letter in "EZ" if letter not in options)
        has_judge = rule in (_OFFICIAL, _PLAIN_MATCHED)
        judge = tools.need("judge") if has_judge else None
        read = mmbench_option(text, options, none=none if has_judge else "")
        failures = [] if read else [_NO_OPTION]
        facts: dict[str, Any] = {"said": text}
        if read is None and judge is not None:
            question = self._question(item, text, none=none)
            facts["asked"], read = _matched(judge, question, options, none=none)
            if read is None:
                # Each item has a generator of its own, as in MMMU.
                read = random.Random(f"{_SEED} {item.id}").choice("ABCDE")
                failures.append(_NO_REPLY)
        shared = {name: item.truth[name] for name in ("question", "rotation", "l2")}
        return Row(
            item.id,
            item.group,
            {"right": float(read == item.truth["answer"])},
            failures=tuple(failures),
            facts={**facts, "read": read, **shared},
        )

    def table(self, rows: Sequence[Row], *, protocol: str) -> dict[str, Score]:
        """Return the accuracy over base questions: overall, "l2/..." and "category/..."."""
        rule = self._rule(protocol)
        if rule in (_PLAIN, _PLAIN_MATCHED):
            rows = [row for row in rows if row.facts["rotation"] == 0]
        whole = _questions(rows)
        broad = _questions([replace(row, group=row.facts["l2"]) for row in rows])
        parts = {"l2": by_group(broad, "right", scale=PERCENT)}
        parts["category"] = by_group(whole, "right", scale=PERCENT)
        named = {
            f"{kind}/{name}": one for kind, part in parts.items() for name, one in part.items()
        }
        overall = over_items(whole, "right", scale=PERCENT)
        scores = {"overall": overall, **named}
        if rule in (_OFFICIAL, _PLAIN_MATCHED):
            scores["asked"] = summarise([float("asked" in row.facts) for row in rows])
            drawn = float(sum(_NO_REPLY in row.failures for row in rows))
            scores["random_fallbacks"] = Score(drawn, drawn, drawn, len(rows))
        return scores | {"parse_failures": parse_failures(rows)}

    def _rule(self, protocol: str) -> str:
        if protocol in (_CIRCULAR, _PLAIN):
            return protocol
        return self._templates.rule(protocol, (_OFFICIAL, _PLAIN_MATCHED))

    def _question(self, item: Item, text: str, *, none: str) -> str:
        """What the judge is asked about an answer."""
        listed = " ".join(f"{letter}. {one}" for letter, one in item.truth["options"].items())
        values = {
            "question": item.truth["asked"], "options": listed, "answer": text, "none": none,
        }  # fmt: skip
        return self._templates.fill("mmbench", values)

    def _item(self, row: Mapping[str, str], pictures: Mapping[str, str], *, where: str) -> Item:
        index = field(row, "index", str, where=where)
        if not index.isdecimal():
            raise DataError(f"{where}: field 'index': expected a number, got {index!r}")
        rotation, question = divmod(int(index), _ROTATION)
        options = {letter: row[letter] for letter in _LETTERS if row.get(letter)}
        answer = field(row, "answer", str, where=where) if "answer" in row else ""
        if answer not in options:
            raise DataError(
                f"{where}: field 'answer': expected one of {', '.join(options)}, got {answer!r}; "
                "test files hold no answers, take a dev file"
            )
        asked = field(row, "question", str, where=where)
        text = "\n".join(part for part in (row.get("hint"), asked) if part)
        prompt = with_options(f"{text}\nThere are several options:", options)
        image = field(row, "image", str, where=where)
        if len(image) <= _LONGEST_INDEX:
            image = field(pictures, image, str, where=f"{where}: field 'image'")
        return Item(
            id=index,
            group=field(row, "category", str, where=where),
            prompt=prompt,
            want="text",
            given=partial(document, prompt, pictures=[picture_base64(image, where=where)]),
            truth={
                "answer": answer,
                "options": options,
                "question": question,
                "asked": asked,
                "rotation": rotation,
                "l2": row.get("l2-category") or field(row, "L2-category", str, where=where),
            },
            whole=str(question),
        )


def _matched(
    judge: ChatJudge, question: str, options: Mapping[str, str], *, none: str
) -> tuple[list[str], str | None]:
    """Replies, and the letter that the last of them names."""
    replies: list[str] = []
    for number in range(1, _TRIES + 1):
        # A judge without randomness would only say the same again to the same words.
        again = _AGAIN.format(number, _TRIES) if replies else ""
        replies.append(judge.ask(question + again))
        read = mmbench_option(replies[-1], options, none=none)
        if read is not None:
            return replies, read
    return replies, None


def _questions(rows: Sequence[Row]) -> list[Row]:
    """One row a question, right if each of its rotations is."""
    return merged(rows, lambda row: str(row.facts["question"]), value="right", combine=min)
