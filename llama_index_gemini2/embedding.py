"""``Gemini2Embedding``: what it is made from, and how it is copied, pickled and closed."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llama_index.core.callbacks import CallbackManager
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_serializer

from gemini2_core.embedding import (
    Gemini2Embedder,
    OnEmpty,
    OnOverflow,
    RateLimiter,
    Usage,
    VectorCache,
)
from gemini2_core.embedding.embedder import Secret
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import (
    DEFAULT_DIMENSIONS,
    DEFAULT_MODEL,
    MAX_BATCH_ITEMS,
    EmbeddingSpace,
    TaskType,
)
from gemini2_core.model import task_type as read_task_type
from llama_index_gemini2.arguments import (
    VertexAIConfig,
    read_embedding_config,
    refuse_unknown,
    warn_of_retries,
)
from llama_index_gemini2.calls import EmbeddingCalls
from llama_index_gemini2.watching import tell_progress

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.genai import Client
    from google.genai.types import EmbedContentConfig, HttpOptions

__all__ = ["Gemini2Embedding"]

_log = logging.getLogger(__name__)
_DEFAULT_BATCH = 40
_DEFAULT_CONCURRENCY = 8


class Gemini2Embedding(EmbeddingCalls):
    """Gemini Embedding 2 as LlamaIndex's embedding model.

    Texts, pictures, sound, film and PDF pages live in one space, so one ``VectorStoreIndex``
    holds them all. As a transformation of an ``IngestionPipeline`` (or called with nodes) it
    embeds each node with all its media into one vector. With a ``media_root`` the media links of
    Markdown texts are read, so that indices, which hand over nothing but text, are multimodal
    too. A whole list goes to the service at once, whatever ``embed_batch_size`` is.

    Embeddings tell a ``MatryoshkaVectorStore`` which space they live in, so that it refuses those
    of another, whatever index they come from: the first four numbers say it in bits that only a
    Python float has, which copies and JSON keep. As float32 they are what the service sent.

    Args:
        model_name: A Gemini embedding model.
        api_key: Key of the Gemini API; from ``GOOGLE_API_KEY`` or ``GEMINI_API_KEY`` if None. It
            is kept out of ``to_dict``, ``repr`` and pickles.
        base_url: Another server, such as the emulator's.
        dimensions: Size of the vectors: 768 (the default), 1536, 3072 or, with a warning, any
            other from 128 on.
        task_type: What the vectors are for; the query and the document side follow from it. None
            embeds text as it is.
        media_root: A folder. If set, texts are Markdown and their media links are read from it.
        media_in_queries: Read links in queries too. They often come from strangers.
        allow_remote: Fetch media from ``https:`` addresses.
        cache: A path of a SQLite file, or an object with ``mget`` and ``mset``.
        embed_batch_size: Most items in one request; the service takes 100.
        max_concurrency: Most requests in flight; ``num_workers`` if that is given, else 8.
        requests_per_minute: Your quota, in items as the service counts.
        tokens_per_minute: Your quota of tokens.
        rate_limiter: LlamaIndex's own limiter; asked once an item.
        retry_seconds: How long requests are repeated before a call fails.
        timeout: Seconds for one request.
        on_overflow: A text over the model's limit: ``"average"`` embeds windows of it and averages
            them, ``"error"``, or ``"truncate"``.
        on_empty: A text without a character to embed: ``"error"``, ``"zero"`` for a vector of
            zeros, or ``"skip"``, which leaves a node's ``embedding`` None (lists of texts need a
            vector each: there it is an error).
        title_metadata_keys: Metadata keys of a node's title; the first that is there is told to
            the model. () tells none.
        ingestion_cache: Let an ``IngestionPipeline`` keep this step's results in its own cache.
            Its key is the nodes' text alone, so two pictures would share a vector: leave it off
            where nodes hold media, and use ``cache``.
        vertexai: Use Vertex AI; None asks the environment.
        project: Google Cloud project, for Vertex.
        location: ``"global"``, ``"us"`` or ``"eu"``, for Vertex.
        credentials: google-auth credentials, for Vertex.
        client: Your own ``genai.Client``.
        http_options: Further options of google-genai.
        callback_manager: LlamaIndex's callbacks.
        num_workers: The framework's name for ``max_concurrency``.
        embedding_config: As in ``GoogleGenAIEmbedding``: size, task and ``auto_truncate`` are read.
        vertexai_config: As in ``GoogleGenAIEmbedding``.
        debug_config: Refused: hand in a ``client`` that has one.
        retries: 1 turns repeating off; otherwise ``retry_seconds`` rules.
        retry_min_seconds: Not used (the service says how long to wait).
        retry_max_seconds: Not used.
        retry_exponential_base: Not used.
        embeddings_cache: Refused: its key is the raw text, so queries would get documents'
            vectors, and one size another's. Use ``cache``.
        **more: Fields of subclasses.

    Raises:
        ConfigurationError: An argument is unknown or can't work, or there is no key.

    Example:
        >>> from llama_index.core import Settings
        >>> Settings.embed_model = Gemini2Embedding()  # doctest: +SKIP
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model_name: str = Field(default=DEFAULT_MODEL, frozen=True)
    embed_batch_size: int = Field(default=_DEFAULT_BATCH, gt=0, le=2048, frozen=True)
    num_workers: int | None = Field(default=None, frozen=True)
    rate_limiter: Any | None = Field(default=None, exclude=True, frozen=True)
    base_url: str | None = Field(default=None, frozen=True)
    dimensions: int = Field(default=DEFAULT_DIMENSIONS, frozen=True)
    task_type: TaskType | None = Field(default=TaskType.RETRIEVAL_QUERY, frozen=True)
    media_root: str | None = Field(default=None, frozen=True)
    media_in_queries: bool = Field(default=False, frozen=True)
    allow_remote: bool = Field(default=False, frozen=True)
    cache: Any | None = Field(default=None, frozen=True, repr=False)
    max_concurrency: int = Field(default=_DEFAULT_CONCURRENCY, frozen=True)
    requests_per_minute: int | None = Field(default=None, frozen=True)
    tokens_per_minute: int | None = Field(default=None, frozen=True)
    retry_seconds: float = Field(default=300.0, frozen=True)
    timeout: float = Field(default=60.0, frozen=True)
    on_overflow: OnOverflow = Field(default="average", frozen=True)
    on_empty: OnEmpty = Field(default="error", frozen=True)
    title_metadata_keys: tuple[str, ...] = Field(default=("title",), frozen=True)
    ingestion_cache: bool = Field(default=False, frozen=True)
    vertexai: bool | None = Field(default=None, frozen=True)
    project: str | None = Field(default=None, frozen=True)
    location: str | None = Field(default=None, frozen=True)

    _embedder: Gemini2Embedder | None = PrivateAttr(default=None)
    _unportable: tuple[str, ...] = PrivateAttr(default=())

    def __init__(
        self,
        model_name: str = DEFAULT_MODEL,
        api_key: str | Secret | None = None,
        *,
        base_url: str | None = None,
        dimensions: int | None = None,
        task_type: TaskType | str | None = TaskType.RETRIEVAL_QUERY,
        media_root: str | os.PathLike[str] | None = None,
        media_in_queries: bool = False,
        allow_remote: bool = False,
        cache: str | Path | VectorCache | None = None,
        embed_batch_size: int = _DEFAULT_BATCH,
        max_concurrency: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        rate_limiter: RateLimiter | None = None,
        retry_seconds: float | None = None,
        timeout: float = 60.0,
        on_overflow: OnOverflow | None = None,
        on_empty: OnEmpty = "error",
        title_metadata_keys: str | Sequence[str] = ("title",),
        ingestion_cache: bool = False,
        vertexai: bool | None = None,
        project: str | None = None,
        location: str | None = None,
        credentials: Credentials | None = None,
        client: Client | None = None,
        http_options: HttpOptions | Mapping[str, object] | None = None,
        callback_manager: CallbackManager | None = None,
        num_workers: int | None = None,
        embedding_config: EmbedContentConfig | Mapping[str, object] | None = None,
        vertexai_config: VertexAIConfig | None = None,
        debug_config: object | None = None,
        retries: int | None = None,
        retry_min_seconds: float | None = None,
        retry_max_seconds: float | None = None,
        retry_exponential_base: float | None = None,
        embeddings_cache: object | None = None,
        **more: object,
    ) -> None:
        fields = type(self).model_fields
        refuse_unknown(more.keys() - fields.keys(), {*fields, *_NOT_FIELDS})
        if embeddings_cache is not None:
            raise ConfigurationError(
                "embeddings_cache keys vectors by the raw text: a query would get the document's "
                "vector, one size or model another's, a picture none; use cache='vectors.sqlite' "
                "(or any object with mget and mset)"
            )
        if debug_config is not None:
            raise ConfigurationError(
                "debug_config can't be used here: hand in client=genai.Client(debug_config=…)"
            )
        read = read_embedding_config(embedding_config)
        task = _agree(
            "task_type",
            read_task_type(task_type),
            read_task_type(read.get("task_type")),
            TaskType.RETRIEVAL_QUERY,
        )
        size = _agree("dimensions", dimensions, read.get("dimensions"))
        if max_concurrency is None:
            max_concurrency = _DEFAULT_CONCURRENCY if num_workers is None else num_workers
        given = {
            "retries": retries,
            "retry_min_seconds": retry_min_seconds,
            "retry_max_seconds": retry_max_seconds,
            "retry_exponential_base": retry_exponential_base,
        }
        seconds = warn_of_retries(given)
        if retry_seconds is not None:
            seconds = retry_seconds
        if vertexai_config is not None:
            vertexai = True
            project = project or vertexai_config.get("project")
            location = location or vertexai_config.get("location")
            credentials = credentials or vertexai_config.get("credentials")
        try:
            super().__init__(
                model_name=model_name,
                embed_batch_size=embed_batch_size,
                callback_manager=callback_manager or CallbackManager([]),
                num_workers=num_workers,
                rate_limiter=rate_limiter,
                base_url=base_url,
                dimensions=DEFAULT_DIMENSIONS if size is None else size,
                task_type=task,
                media_root=None if media_root is None else os.fspath(media_root),
                media_in_queries=media_in_queries,
                allow_remote=allow_remote,
                cache=cache,
                max_concurrency=max_concurrency,
                requests_per_minute=requests_per_minute,
                tokens_per_minute=tokens_per_minute,
                retry_seconds=300.0 if seconds is None else seconds,
                timeout=timeout,
                on_overflow=on_overflow or read.get("on_overflow", "average"),
                on_empty=on_empty,
                title_metadata_keys=_keys(title_metadata_keys),
                ingestion_cache=ingestion_cache,
                vertexai=vertexai,
                project=project,
                location=location,
                **more,
            )
        except ValidationError as error:
            told = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigurationError("; ".join(told)) from None
        http_options = http_options or read.get("http_options")
        own = {"client": client, "credentials": credentials, "http_options": http_options}
        self._unportable = tuple(name for name, value in own.items() if value is not None)
        self._embedder = self._open(
            api_key=api_key, credentials=credentials, client=client, http_options=http_options
        )

    def _open(
        self,
        *,
        api_key: str | Secret | None = None,
        credentials: Credentials | None = None,
        client: Client | None = None,
        http_options: HttpOptions | Mapping[str, object] | None = None,
    ) -> Gemini2Embedder:
        return Gemini2Embedder(
            self.model_name,
            api_key=api_key,
            base_url=self.base_url,
            dimensions=self.dimensions,
            task_type=self.task_type,
            media_root=self.media_root,
            media_in_queries=self.media_in_queries,
            allow_remote=self.allow_remote,
            vertexai=self.vertexai,
            project=self.project,
            location=self.location,
            credentials=credentials,
            client=client,
            http_options=http_options,
            cache=self.cache,
            max_concurrency=self.max_concurrency,
            batch_size=min(self.embed_batch_size, MAX_BATCH_ITEMS),
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            rate_limiter=self.rate_limiter,
            retry_seconds=self.retry_seconds,
            timeout=self.timeout,
            on_overflow=self.on_overflow,
            on_empty=self.on_empty,
            on_progress=tell_progress,
        )

    # What it is

    @classmethod
    def class_name(cls) -> str:
        """Name in serialized form."""
        return "Gemini2Embedding"

    @property
    def embedder(self) -> Gemini2Embedder:
        """The core's embedder, for float32 arrays instead of lists.

        Raises:
            ConfigurationError: The model came from another process, and there is no key in this.
        """
        if self._embedder is None:
            self._embedder = self._open()
        return self._embedder

    @property
    def usage(self) -> Usage:
        """Tokens, requests and dollars of all calls so far."""
        return self.embedder.usage

    @property
    def space(self) -> EmbeddingSpace:
        """The space the vectors live in; store ``str(space)`` with an index."""
        return self.embedder.space

    def to_payload(self) -> dict[str, Any]:
        """What events and callbacks tell of the model."""
        return {
            **super().to_payload(),
            "dimensions": self.dimensions,
            "task_type": self.task_type.value if self.task_type else None,
        }

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Every argument but keys, credentials, client, limiter and a cache that is an object.

        An ``IngestionPipeline`` makes its cache's key from this and the nodes' text, blind to
        media; unless ``ingestion_cache`` is on, ``cache_salt`` is new each time, so that it never
        finds one picture's vector for another.
        """
        data = super().to_dict(**kwargs)
        if not self.ingestion_cache:
            data["cache_salt"] = uuid.uuid4().hex
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Read ``to_dict`` back; the key comes from the environment or ``api_key=``."""
        return super().from_dict({k: v for k, v in data.items() if k != "cache_salt"}, **kwargs)

    @field_serializer("cache")
    def _cache_path(self, cache: object) -> str | None:
        return str(cache) if isinstance(cache, (str, Path)) else None

    def close(self) -> None:
        """Close the connections; later calls raise ``ClosedError``."""
        if self._embedder is not None:
            self._embedder.close()

    async def aclose(self) -> None:
        """``close``, awaited."""
        if self._embedder is not None:
            await self._embedder.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; an argument can't be changed by it, as the embedder would keep its own.

        Raises:
            ConfigurationError: ``update`` names anything but ``callback_manager``.
        """
        names = sorted((update or {}).keys() - {"callback_manager"})
        if names:
            raise ConfigurationError(
                f"a copy can't have another {', '.join(names)}: make a new {self.class_name()}"
            )
        return super().model_copy(update=update, deep=deep)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Limiters, callbacks and caches are there to be shared, and often can't be copied.
        copied = self.__copy__()
        copied._embedder = copy.deepcopy(self._embedder, memo)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        if self._unportable:
            raise ConfigurationError(
                f"a model with {' and '.join(self._unportable)} of yours can't be sent to another "
                "process: it may hold secrets, and isn't in the environment there; make the model "
                "in that process"
            )
        state = BaseModel.__getstate__(self)
        fields = dict(state["__dict__"])
        for name, empty in _BOUND_TO_A_PROCESS.items():
            if not _picklable(fields[name]):
                _log.warning("%s can't be pickled: the copy has none", name)
                fields[name] = empty() if empty else None
        private = {k: v for k, v in state["__pydantic_private__"].items() if k != "_embedder"}
        return {**state, "__dict__": fields, "__pydantic_private__": private}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        BaseModel.__setstate__(self, state)
        self._embedder = None
        # Without a key the first call says so: an error here would kill the process of a pool, and
        # the pool would start another, and so on without an end.
        with suppress(ConfigurationError):
            self._embedder = self._open()


#: Fields whose objects may not be picklable, and what a copy in another process has instead.
_BOUND_TO_A_PROCESS: Mapping[str, Callable[[], object] | None] = {
    "callback_manager": CallbackManager,
    "rate_limiter": None,
    "cache": None,
}


def _picklable(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001  # any object's own
        return False
    return True


#: Arguments that no field keeps, for the hint in an error.
_NOT_FIELDS = frozenset(
    {
        "api_key",
        "client",
        "credentials",
        "debug_config",
        "embedding_config",
        "http_options",
        "retries",
        "retry_exponential_base",
        "retry_max_seconds",
        "retry_min_seconds",
        "vertexai_config",
    }
)


def _keys(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _agree(name: str, ours: Any, theirs: Any, default: Any = None) -> Any:
    """One value from an argument and from ``embedding_config``.

    Raises:
        ConfigurationError: Both say something, and not the same.
    """
    if theirs is None or theirs == ours:
        return ours
    if ours != default:
        raise ConfigurationError(f"{name}={ours!r}, but embedding_config says {theirs!r}")
    return theirs
