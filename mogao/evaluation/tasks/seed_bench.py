"""SEED-Bench: multiple choice about pictures, in nine types of questions.

In: `SEED-Bench.json`. Out: items; the accuracy of each type, and "image", pooled over all
questions about pictures, which is not the mean of the types. Questions about videos, types ten to
twelve, are passed over.

A model of ours answers twice, so that one run can be scored in each way: it writes a letter to the
question with its options, and says how likely each option is as the answer to the question alone.
`generate` takes the first letter of what was written. `official` takes the option with the least
summed loss, as the script with InstructBLIP does, `official-mean` that with the least mean loss of
a token, as the script of the second edition with LLaVA does; both count the end of the answer.
Of equal losses the first counts. Answers of other programs are texts and hold no likelihoods.

Source: arXiv 2307.16125, section 3.4; AILab-CVC/SEED-Bench, eval.py,
model/instruct_blip_interface.py, SEED-Bench-2/model/llava_v2_interface.py;
EvolvingLMMs-Lab/lmms-eval, lmms_eval/tasks/seedbench/utils.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mogao.errors import ConfigError, DataError
from mogao.evaluation.benchmark import LIKELIHOODS, Item, Made, Output, Row, Turn
from mogao.evaluation.parsing import first_letter
from mogao.evaluation.providers.base import Tools
from mogao.evaluation.scores import Score
from mogao.evaluation.tables import by_group, over_items
from mogao.evaluation.tasks.records import (
    Picture,
    distinct,
    document,
    field,
    name_field,
    picture_file,
    read_json,
    safe_id,
)
from mogao.evaluation.tasks.statistics import PERCENT, parse_failures
from mogao.evaluation.tasks.text_answers import TextBenchmark, with_options
from mogao.sequence import InterleavedSequence

_LETTERS = "ABCD"


class SeedBench(TextBenchmark):
    """The benchmark; `images` is the folder of the pictures named by `data_id`."""

    name = "seed_bench"
    protocols: tuple[str, ...] = ("generate", "official", "official-mean")

    def items(self) -> Sequence[Item]:
        """Return one item a question about a picture.

        Raises:
            DataError: The records break their format.
        """
        whole, where = read_json(self.data), str(self.data)
        types = {
            number: name
            for name, number in field(whole, "question_type", dict, where=where).items()
        }
        questions = field(whole, "questions", list, where=where)
        items = [
            self._item(row, types, where=f"{where}: question {number}")
            for number, row in enumerate(questions, 1)
            if field(row, "data_type", str, where=f"{where}: question {number}") == "image"
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
        """Read the first letter, or find the likeliest option.

        Raises:
            ConfigError: The protocol needs likelihoods, and another program made the answer.
            DataError: The likelihoods are damaged.
        """
        texts = [part for part in outputs[0].parts if isinstance(part, str)]
        written = texts[0].strip() if texts else ""
        if protocol == "generate":
            read = first_letter(written, _LETTERS)
            facts: dict[str, Any] = {"said": written, "read": read}
        else:
            if len(texts) < 2:
                raise ConfigError(
                    f"{item.id}: protocol {protocol!r} needs the likelihoods that 'mogao eval "
                    "--model' writes; answers of other programs are scored by 'generate'"
                )
            losses = _losses(texts[1], is_mean=protocol == "official-mean", where=item.id)
            read = _LETTERS[losses.index(min(losses))]
            facts = {"losses": losses, "read": read}
        return Row(
            item.id,
            item.group,
            {"right": float(read == item.truth["answer"])},
            failures=() if read else ("no letter at the start",),
            facts=facts,
        )

    def table(
        self,
        rows: Sequence[Row],
        *,
        protocol: str,
    ) -> dict[str, Score]:
        """Return the pooled accuracy, then that of each type."""
        return {
            "image": over_items(rows, "right", scale=PERCENT),
            **by_group(rows, "right", scale=PERCENT),
            "parse_failures": parse_failures(rows),
        }

    def _item(self, row: Mapping[str, Any], types: Mapping[int, str], *, where: str) -> Item:
        options = {
            letter: field(row, f"choice_{letter.lower()}", str, where=where) for letter in _LETTERS
        }
        answer = field(row, "answer", str, where=where)
        kind = field(row, "question_type_id", int, where=where)
        if answer not in options:
            raise DataError(f"{where}: field 'answer': expected A to D, got {answer!r}")
        if kind not in types:
            raise DataError(f"{where}: field 'question_type_id': no type has the number {kind}")
        question = field(row, "question", str, where=where)
        prompt = with_options(question, options)
        name = field(row, "data_id", str, where=where)
        picture = picture_file(self.pictures, name, where=where)
        return Item(
            id=safe_id(name_field(row, "question_id", where=where)),
            group=types[kind],
            prompt=prompt,
            want="text",
            given=partial(document, prompt, pictures=[picture]),
            truth={"answer": answer},
            turns=(
                Turn(
                    LIKELIHOODS,
                    partial(_question, question, picture),
                    is_fresh=True,
                    choices=tuple(options.values()),
                ),
            ),
        )


def _question(question: str, picture: Picture, made: Made) -> InterleavedSequence:
    """The question without its options, whatever letter was written."""
    del made
    return document(question, pictures=[picture])


def _losses(text: str, *, is_mean: bool, where: str) -> list[float]:
    """Loss of each option, summed over its tokens or as a mean."""
    try:
        found = [(float(one["nats"]), int(one["tokens"])) for one in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: no likelihoods in {text[:80]!r}: {error!r}") from None
    if len(found) != len(_LETTERS) or not all(tokens > 0 for _, tokens in found):
        raise DataError(f"{where}: expected likelihoods of {len(_LETTERS)} texts, got {text[:80]}")
    return [nats / tokens if is_mean else nats for nats, tokens in found]
