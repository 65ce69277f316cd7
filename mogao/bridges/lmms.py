"""A mogao model as a model class of lmms-eval: it answers in text and draws.

In: instances of lmms-eval. Out: a text, or the JSON of a drawing, for each. All instances of a call
share one engine; an answer depends on its task, document and number alone. Importing this module
needs lmms-eval, which finds it through the entry point `mogao.bridges.lmms_models`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Any, TypeVar

from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.progress import make_progress
from lmms_eval.utils import eval_logger

from mogao.bridges.lmms_requests import (
    Request,
    answer_text,
    engine_config,
    from_context,
    from_messages,
    ignored_settings,
    played,
    request_of,
    told,
    want_of,
)
from mogao.config import GenerationConfig, override, parse
from mogao.errors import RequestError
from mogao.evaluation.likelihood import likelihood_of
from mogao.evaluation.player import seed_of
from mogao.pipeline import Mogao
from mogao.sampling.engine import Engine
from mogao.sampling.session import Session
from mogao.sequence import Segment

T = TypeVar("T")
_NUM_ARGUMENTS = 6  # of an instance; document, task and split are the last three


class LmmsMogao(lmms):
    """What the two model classes share: the model, its settings, one engine a call."""

    def __init__(
        self,
        pretrained: str = "nano",
        *,
        want: str = "text",
        pictures: str = "out/lmms-pictures",
        seed: int = 0,
        dtype: str = "auto",
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **settings: Any,
    ) -> None:
        """Load a model; lmms-eval passes what stands behind `--model_args`.

        Args:
            pretrained: A folder, a built-in name or a hub id.
            want: What a request is for where its task does not say: text, picture or document.
            pictures: Folder of the pictures that are drawn.
            seed: Of all draws.
            dtype: As of `Mogao.from_pretrained`.
            device: As there; None takes the first one that is there.
            batch_size: Requests that share the model's steps, or "auto".
            max_batch_size: Of "auto".
            settings: Changes of the generation settings, such as {"image.num_steps": 12}.

        Raises:
            CheckpointError: The model cannot be loaded.
            ConfigError: A setting or the batch size is not valid.
            RequestError: `want` is no kind of answer.
        """
        super().__init__()
        self._want = want_of(want, where="model_args")
        self._folder = Path(pictures)
        self._seed = seed
        self._config = engine_config(batch_size, most=max_batch_size)
        self._mogao = Mogao.from_pretrained(pretrained, dtype=dtype, device=device or "auto")
        changes = [f"{name}={value}" for name, value in settings.items()]
        data = override(self._mogao.generation.model_dump(mode="json"), changes)
        self._generation = parse(GenerationConfig, data, where="model_args")

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self._mogao.device

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Return what the model says or draws for each request.

        Raises:
            RequestError: A request cannot be served; the message names its task and document.
            ConfigError: A generation setting of a task is not valid.
        """
        self._tell_ignored(requests)

        def job(instance: Instance, request: Request, session: Session) -> str:
            del instance
            return answer_text(request, played(request, session), folder=self._folder)

        return self._run(requests, job)

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Refuse.

        Raises:
            RequestError: Always: a task of several rounds chooses its next words itself.
        """
        raise RequestError(
            f"{requests[0].task_name}: mogao answers tasks of one round (generate_until), not of "
            "several (generate_until_multi_round)"
        )

    def loglikelihood(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Refuse; see `SimpleMogao.loglikelihood`.

        Raises:
            RequestError: Always.
        """
        raise RequestError(f"{requests[0].task_name}: likelihoods need --force_simple")

    @abstractmethod
    def _settings(self, instance: Instance) -> Mapping[str, Any]:
        """The generation settings that a task asks for."""

    @abstractmethod
    def _segments(self, instance: Instance, document: Any) -> list[Segment]:
        """What the model is given."""

    def _run(
        self, instances: Sequence[Instance], job: Callable[[Instance, Request, Session], T]
    ) -> list[T]:
        """Do a job for each instance, all of them in one engine."""
        results = []
        for_jobs, for_seeds = tee(self._requests(instances))
        with (
            Engine(self._mogao.parts, generation=self._generation, config=self._config) as engine,
            make_progress(len(instances), "Model Responding", disable=self.rank != 0) as progress,
        ):
            jobs = (partial(job, *pair) for pair in zip(instances, for_jobs, strict=True))
            seeds = (seed_of(request.item, request.k, self._seed) for request in for_seeds)
            for result in engine.map(jobs, seeds=seeds):
                results.append(result)
                progress.update(1)
        return results

    def _requests(self, instances: Iterable[Instance]) -> Iterator[Request]:
        """Read one instance after another: pictures are opened when a place gets free."""
        times: Counter[tuple[str, int]] = Counter()
        for instance in instances:
            task, number = instance.task_name, instance.doc_id
            k = times[task, number]  # a task that asks n times puts an instance in line n times
            times[task, number] += 1
            yield request_of(
                (task, number, k),
                self._segments(instance, self._document(instance)),
                asked=self._settings(instance),
                generation=self._generation,
                want=self._want,
            )

    def _document(self, instance: Instance) -> Any:
        """The record that an instance is about."""
        if len(instance.args) != _NUM_ARGUMENTS:
            raise RequestError(
                f"{instance.task_name}: a request of {len(instance.args)} arguments; mogao takes "
                f"those of {_NUM_ARGUMENTS}, without the metric acc_mutual_info"
            )
        return self.task_dict[instance.task_name][instance.args[-1]][instance.doc_id]

    def _tell_ignored(self, instances: Iterable[Instance]) -> None:
        """Say once for each task which of its settings mean nothing to us."""
        found = {one.task_name: ignored_settings(self._settings(one)) for one in instances}
        for task, names in found.items():
            if names:
                eval_logger.warning(f"{task}: mogao ignores generation_kwargs {', '.join(names)}")

    def _read_limits(self, instance: Instance) -> dict[str, Any]:
        """What the readers of segments need to know."""
        where = f"{instance.task_name}/{instance.doc_id}"
        return {"max_pixels": self._generation.limits.max_input_pixels, "where": where}


class ChatMogao(LmmsMogao):
    """Takes chat messages, pictures where they stand in them.

    Attributes:
        is_simple: False: tasks are asked for messages.
    """

    is_simple = False

    def _settings(self, instance: Instance) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = instance.args[2]
        return settings

    def _segments(self, instance: Instance, document: Any) -> list[Segment]:
        return from_messages(instance.args[1](document), **self._read_limits(instance))


class SimpleMogao(LmmsMogao):
    """Takes a text with a list of pictures, and knows likelihoods.

    Attributes:
        is_simple: True: tasks are asked for texts and lists of pictures.
    """

    is_simple = True

    def loglikelihood(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Return for each continuation its loss and whether it is what greedy decoding says.

        The loss is the mean negative log-probability of a token: against its name, lmms-eval takes
        the least number of a question's choices, and all its own model classes return the loss.

        Raises:
            RequestError: A continuation is empty, or a request cannot be served.
        """

        def job(instance: Instance, request: Request, session: Session) -> GenerationResult:
            told(request, session)
            found = likelihood_of(self._continuation(instance), session)
            # The evaluator of 0.7.3 makes a string of a bare pair; what stands in this, it keeps.
            return GenerationResult((found.loss, found.is_greedy))

        return self._run(requests, job)

    def _settings(self, instance: Instance) -> Mapping[str, Any]:
        settings = instance.args[1]
        return settings if isinstance(settings, Mapping) else {}  # a likelihood has none

    def _segments(self, instance: Instance, document: Any) -> list[Segment]:
        visuals = instance.args[2](document)
        return from_context(instance.args[0], visuals, **self._read_limits(instance))

    def _continuation(self, instance: Instance) -> str:
        text = instance.args[1]
        return text(self._document(instance)) if callable(text) else text
