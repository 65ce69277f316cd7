"""The model classes under lmms-eval; they run where lmms-eval is installed (`make lmms`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mogao.data.images import read_image
from mogao.errors import ConfigError, RequestError

pytest.importorskip("lmms_eval")
pytestmark = pytest.mark.filterwarnings("default")  # what lmms-eval imports warns

DOCUMENTS = [{"question": f"what is number {number}?", "red": 9 * number} for number in range(3)]


def messages(doc: dict[str, Any]) -> list[dict[str, Any]]:
    (visual,) = visuals(doc)
    content = [{"type": "image", "url": visual}, {"type": "text", "text": doc["question"]}]
    return [{"role": "user", "content": content}]


def visuals(doc: dict[str, Any]) -> list[Image.Image]:
    return [Image.new("RGB", (32, 32), (doc["red"], 0, 0))]


def make(folder: Path, out: Path, *, is_simple: bool = False, **arguments: Any):
    from lmms_eval.models import get_model

    settings = {"dtype": "float32", "pictures": str(out), "image.num_steps": 1} | arguments
    found = get_model("mogao", force_simple=is_simple)(str(folder), **settings)
    found.task_dict = {"task": {"test": DOCUMENTS}}
    return found


def instance(number: int, *parts: Any, kind: str = "generate_until"):
    from lmms_eval.api.instance import Instance

    metadata = {"task": "task", "doc_id": number, "repeats": 1}
    return Instance(kind, arguments=(*parts, number, "task", "test"), idx=0, metadata=metadata)


def chats(asked: dict[str, Any]) -> list[Any]:
    return [instance(number, "", messages, asked) for number in range(3)]


def simple(asked: dict[str, Any]) -> list[Any]:
    return [instance(n, doc["question"], asked, visuals) for n, doc in enumerate(DOCUMENTS)]


def test_answers_depend_neither_on_the_batch_nor_on_the_class(tiny_model_folder, tmp_path):
    asked = {"do_sample": True, "max_new_tokens": 6, "until": []}
    together = make(tiny_model_folder, tmp_path, batch_size="3").generate_until(chats(asked))
    one_by_one = make(tiny_model_folder, tmp_path).generate_until(chats(asked)[::-1])
    assert together == one_by_one[::-1]
    assert len(set(together)) > 1
    other = make(tiny_model_folder, tmp_path, is_simple=True).generate_until(simple(asked))
    assert other == together


def test_drawings_are_files_and_a_repeat_is_another_one(tiny_model_folder, tmp_path):
    model = make(tiny_model_folder, tmp_path, want="picture", batch_size="auto")
    (first, *_) = chats({"until": ["\n\n"], "do_sample": False})
    answers = [json.loads(answer) for answer in model.generate_until([first, first])]
    paths = [Path(answer["images"][0]) for answer in answers]
    assert paths == [tmp_path / "task" / "0" / f"{k}-0.png" for k in range(2)]
    assert (read_image(paths[0]) != read_image(paths[1])).any()


def test_likelihoods_are_losses_of_simple_models(tiny_model_folder, tmp_path):
    from lmms_eval.api.instance import unwrap_generation_output

    model = make(tiny_model_folder, tmp_path, is_simple=True, batch_size=2)
    continuations = ["a", "b", lambda doc: doc["question"][0]]
    requests = [instance(0, "say", text, visuals, kind="loglikelihood") for text in continuations]
    # As the evaluator reads them: it would make a string of a bare pair.
    found = [unwrap_generation_output(result)[0] for result in model.loglikelihood(requests)]
    assert all(loss > 0 for loss, _ in found)
    assert len({loss for loss, _ in found}) == 3
    assert sum(is_greedy for _, is_greedy in found) <= 1


def test_what_is_not_bridged_says_so(tiny_model_folder, tmp_path):
    chat = make(tiny_model_folder, tmp_path)
    with pytest.raises(RequestError, match="--force_simple"):
        chat.loglikelihood(chats({}))
    with pytest.raises(RequestError, match="one round"):
        chat.generate_until_multi_round(chats({}))
    plain = make(tiny_model_folder, tmp_path, is_simple=True)
    short = instance(0, kind="loglikelihood")
    with pytest.raises(RequestError, match="acc_mutual_info"):
        plain.loglikelihood([short])
    unknown: dict[str, Any] = {"image.num_stepz": 1}
    with pytest.raises(ConfigError, match="num_stepz"):
        make(tiny_model_folder, tmp_path, **unknown)
