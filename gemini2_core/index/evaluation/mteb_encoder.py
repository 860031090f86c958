"""An encoder that ``mteb.evaluate`` accepts: each benchmark told as one of our tasks."""

from __future__ import annotations

import io
import warnings
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
import numpy.typing as npt
import orjson

from gemini2_core.content import Content, ContentLike, Media
from gemini2_core.embedding import Gemini2Embedder, Usage
from gemini2_core.embedding.progress import progress_bar
from gemini2_core.errors import InvalidInputError
from gemini2_core.model import MAX_BATCH_ITEMS, Modality, Side, TaskType, Vectors, model_spec
from gemini2_core.model import task_type as read_task_type

if TYPE_CHECKING:
    from mteb.models import ModelMeta

__all__ = ["Batch", "MtebEncoder", "TaskMetadata", "Tasks", "mteb_side", "mteb_task"]

Tasks = Mapping[str, TaskType | str | None]
"""Task by mteb's name of a task (``"ArguAna"``), of a type (``"STS"``), or by side."""

Batch = Mapping[str, Sequence[object]]
"""A column of inputs by name."""

#: What a word in an mteb task's type says; the first that is in it counts. That pairs are told as
#: CLASSIFICATION is Google's own mapping (mteb's model ``google/gemini-embedding-2``).
_BY_TYPE = (
    ("Clustering", TaskType.CLUSTERING),
    ("Classification", TaskType.CLASSIFICATION),
    ("Regression", TaskType.CLASSIFICATION),
    ("Compositionality", TaskType.CLASSIFICATION),
    ("Retrieval", TaskType.RETRIEVAL_QUERY),
    ("Reranking", TaskType.RETRIEVAL_QUERY),
    ("DocumentUnderstanding", TaskType.RETRIEVAL_QUERY),
    ("CentricQA", TaskType.RETRIEVAL_QUERY),
)
#: What a subtype of a retrieval or reranking task says; the first that it has counts.
_BY_SUBTYPE = (
    ("Code retrieval", TaskType.CODE_RETRIEVAL_QUERY),
    ("Claim verification", TaskType.FACT_VERIFICATION),
    ("Question answering", TaskType.QUESTION_ANSWERING),
)
_MODALITIES = {
    Modality.TEXT: "text",
    Modality.IMAGE: "image",
    Modality.AUDIO: "audio",
}
#: Inputs handed to the embedder together; media are held in memory as long.
_TEXTS_AT_ONCE = 2048
_MEDIA_AT_ONCE = 64
_BATCH_SIZE = 40


class TaskMetadata(Protocol):
    """What is needed of mteb's class of that name."""

    name: str
    type: str
    task_subtypes: Sequence[str] | None
    modalities: Sequence[str]


class MtebEncoder:
    """An embedder as mteb wants one: ``mteb.evaluate(MtebEncoder(embedder), tasks)``.

    Each task of mteb is told as one of the eight task types (see ``mteb_task``), queries and
    documents each their way, titles in their place. Requests hold many texts and run side by
    side, quotas are waited out, and what the embedder's cache holds isn't paid again.

    Args:
        embedder: Embeds; its ``dimensions`` are what is measured. Its own ``task_type`` counts
            only if ``task_types`` is None.
        task_types: Task by mteb's name of a task, of a type, or ``"query"`` and ``"document"``,
            the first found winning over our own mapping; mteb's
            ``GEMINI_EMBEDDING_2_PROMPTS``, Google's list for the leaderboard, is one. None tells
            every task as the embedder's own.
        tell_media_tasks: Tell the task in tasks that have pictures or sound, too: on texts, and
            on the text of mixed inputs. Google documents it for text only, and mteb's own model
            leaves it out.

    Raises:
        ConfigurationError: No such task type.
    """

    def __init__(
        self,
        embedder: Gemini2Embedder,
        *,
        task_types: Tasks | None = {},  # noqa: B006  # never changed
        tell_media_tasks: bool = False,
    ) -> None:
        self._embedder = embedder
        self._tasks = (
            None
            if task_types is None
            else {name: read_task_type(task) for name, task in task_types.items()}
        )
        self._tell_media_tasks = tell_media_tasks

    @property
    def usage(self) -> Usage:
        """What all tasks so far sent and cost."""
        return self._embedder.usage

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb files results under: size, tasks and a server that isn't Google's included.

        Raises:
            ImportError: mteb isn't installed (``pip install mteb``).
        """
        import mteb
        from mteb.models import ModelMeta

        spec = model_spec(self._embedder.model)
        name = f"google/{spec.id}"
        try:
            known: ModelMeta = mteb.get_model_meta(name)
        except (KeyError, ValueError):  # newer than the mteb that is installed
            known = ModelMeta.create_empty({"name": name})
        return known.model_copy(
            update={
                "loader": None,
                "loader_kwargs": {},
                "revision": "gemini2-embeddings",
                "max_tokens": spec.max_input_tokens,
                "embed_dim": self._embedder.dimensions,
                "modalities": [_MODALITIES[one] for one in _modalities(self._embedder)],
                "experiment_kwargs": self._experiment(),
                "extra_requirements_groups": None,
            }
        )

    def _experiment(self) -> dict[str, object]:
        """What tells one way of running from another, so that mteb's cache keeps them apart."""
        own = self._embedder
        told: dict[str, object] = {"dimensions": own.dimensions}
        if self._tasks is None:
            told["task_type"] = own.task_type.value if own.task_type else "none"
        elif self._tasks:
            told["task_types"] = _digest(self._tasks)
        if self._tell_media_tasks:
            told["tell_media_tasks"] = True
        if own.base_url:
            told["server"] = own.base_url
        return told

    def encode(
        self,
        inputs: Iterable[Batch],
        *,
        task_metadata: TaskMetadata,
        hf_split: str = "",  # noqa: ARG002  # mteb's
        hf_subset: str = "",  # noqa: ARG002  # mteb's
        prompt_type: str | None = None,
        batch_size: int = _BATCH_SIZE,
        show_progress_bar: bool = False,
        **kwargs: object,  # noqa: ARG002  # what later versions of mteb may pass
    ) -> Vectors:
        """Vectors of all inputs, in order, shape (n, dimensions).

        Args:
            inputs: Batches with columns ``text``, ``title`` and ``body``, ``image``, ``audio``;
                what a row has of them is one content.
            task_metadata: Says which task it is.
            hf_split: Not needed.
            hf_subset: Not needed.
            prompt_type: ``"query"``, ``"document"``, or None where the sides don't differ.
            batch_size: Texts in a request, up to 100.
            show_progress_bar: Show one.
            **kwargs: Not needed.

        Raises:
            InvalidInputError: A row with nothing that can be embedded, such as film alone.
            ServiceError: The service kept failing.
        """
        task = self._task(task_metadata, prompt_type)
        side = mteb_side(task, prompt_type)
        embedder = self._embedder.variant(
            dimensions=self._embedder.dimensions,
            task_type=task,
            batch_size=min(batch_size, MAX_BATCH_ITEMS),
        )
        titled = task is not None and not task.symmetric and side == "document"
        rows = _rows(inputs, titled=titled, seconds=self._longest_sound())
        vectors = [np.empty((0, embedder.dimensions), np.float32)]
        with progress_bar(show_progress_bar, None) as tell:
            for some in _together(rows):
                vectors.append(_embedded(embedder, some, side))
                if tell is not None:
                    done = sum(map(len, vectors))
                    tell(done, max(done, len(getattr(inputs, "dataset", ()))))
        return np.concatenate(vectors)

    def _longest_sound(self) -> float | None:
        limits = model_spec(self._embedder.model).limits[self._embedder.backend]
        return limits[Modality.AUDIO].seconds if Modality.AUDIO in limits else None

    def _task(self, metadata: TaskMetadata, prompt_type: str | None) -> TaskType | None:
        if not self._tell_media_tasks and set(metadata.modalities) != {"text"}:
            return None
        if self._tasks is None:
            return self._embedder.task_type
        for key in (metadata.name, metadata.type, _value(prompt_type)):
            if key in self._tasks:
                return self._tasks[key]
        return mteb_task(metadata)

    def similarity(
        self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike
    ) -> npt.NDArray[np.float32]:
        """Cosine of each of the first with each of the second, a tensor of shape (n1, n2)."""
        return _similarity("cos_sim")(embeddings1, embeddings2)

    def similarity_pairwise(
        self, embeddings1: npt.ArrayLike, embeddings2: npt.ArrayLike
    ) -> npt.NDArray[np.float32]:
        """Cosine of the first with the first, the second with the second, …, a tensor (n,)."""
        return _similarity("pairwise_cos_sim")(embeddings1, embeddings2)

    def __repr__(self) -> str:
        return f"MtebEncoder({self._embedder!r})"


def mteb_task(metadata: TaskMetadata) -> TaskType:
    """Which of our tasks one of mteb's is.

    Retrieval and reranking are RETRIEVAL, unless a subtype says code, claims or questions;
    clustering and classification (of pairs, too) are what they are called; STS, bitext mining,
    summarization and whatever else compares texts are SEMANTIC_SIMILARITY.
    """
    task = next((t for word, t in _BY_TYPE if word in metadata.type), TaskType.SEMANTIC_SIMILARITY)
    if task is TaskType.RETRIEVAL_QUERY:
        subtypes = metadata.task_subtypes or ()
        return next((finer for word, finer in _BY_SUBTYPE if word in subtypes), task)
    return task


def mteb_side(task: TaskType | None, prompt_type: str | None) -> Side:
    """The side of the task that mteb's ``prompt_type`` means; where it says none, the task does."""
    told = _value(prompt_type)
    if told is not None:
        return "query" if told == "query" else "document"
    return "document" if task is TaskType.RETRIEVAL_DOCUMENT else "query"


def _value(prompt_type: str | None) -> str | None:
    # An enum of strings, or a string.
    return None if prompt_type is None else str(getattr(prompt_type, "value", prompt_type))


def _modalities(embedder: Gemini2Embedder) -> list[Modality]:
    read = model_spec(embedder.model).dollars_per_million
    return [modality for modality in _MODALITIES if modality in read]


def _rows(
    inputs: Iterable[Batch], *, titled: bool, seconds: float | None
) -> Iterator[Content | None]:
    """Each row as one content, None for an empty text."""
    for batch in inputs:
        for n in range(len(next(iter(batch.values())))):
            row = {key: column[n] for key, column in batch.items()}
            media: list[ContentLike] = []
            if row.get("image") is not None:
                media.append(row["image"])
            if row.get("audio") is not None:
                media.append(_sound(cast("Mapping[str, object]", row["audio"]), seconds))
            # A corpus has its title in the text as well; where the model is told it, it gets the
            # two apart.
            apart = titled and "body" in row
            text = row.get("body" if apart else "text")
            title = str(row["title"]) if apart and row.get("title") else None
            if text is None and not media:
                raise InvalidInputError(
                    f"a row of {', '.join(map(repr, row))} has neither text, image nor audio"
                )
            said = "" if text is None else str(text)
            if not said.strip() and title:
                said, title = title, None
            parts: list[ContentLike] = [said] if said.strip() else []
            yield Content.of([*parts, *media], title=title) if parts or media else None


def _sound(audio: Mapping[str, object], seconds: float | None) -> Media:
    """What ``datasets`` reads a recording as, numbers and their rate, as 16-bit WAV."""
    rate = int(cast("int", audio["sampling_rate"]))
    samples = np.asarray(audio["array"], np.float32)
    if samples.ndim > 1:
        samples = samples.mean(axis=0)
    most = len(samples) if seconds is None else int(seconds * rate)
    if len(samples) > most:
        warnings.warn(
            f"a recording of {len(samples) / rate:.0f} s is cut to the model's {seconds:.0f} s",
            UserWarning,
            stacklevel=2,
        )
    data = (np.clip(samples[:most], -1, 1) * 32767).astype("<i2").tobytes()
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(data)
    return Media.from_bytes(file.getvalue(), "audio/wav")


def _together(rows: Iterable[Content | None]) -> Iterator[list[Content | None]]:
    """Rows in lists that fill many requests and hold few media."""
    some: list[Content | None] = []
    media = 0
    for content in rows:
        some.append(content)
        media += len(content.media) if content is not None else 0
        if len(some) >= _TEXTS_AT_ONCE or media >= _MEDIA_AT_ONCE:
            yield some
            some, media = [], 0
    if some:
        yield some


def _embedded(embedder: Gemini2Embedder, contents: Sequence[Content | None], side: Side) -> Vectors:
    """A row a content; zeros for an empty text, which the service refuses."""
    vectors = np.zeros((len(contents), embedder.dimensions), np.float32)
    places = [n for n, content in enumerate(contents) if content is not None]
    if len(places) < len(contents):
        warnings.warn(
            f"{len(contents) - len(places)} empty texts get a vector of zeros",
            UserWarning,
            stacklevel=3,
        )
    if places:
        given = [content for content in contents if content is not None]
        vectors[places] = embedder.embed_contents(given, side=side).vectors
    return vectors


def _similarity(name: str) -> Callable[..., npt.NDArray[np.float32]]:
    from mteb import similarity_functions

    return cast("Callable[..., npt.NDArray[np.float32]]", getattr(similarity_functions, name))


def _digest(tasks: Mapping[str, TaskType | None]) -> str:
    """A short name for a mapping; mteb makes a folder's name of it."""
    told = orjson.dumps({name: task and task.value for name, task in sorted(tasks.items())})
    return sha256(told).hexdigest()[:8]
