"""The embedder: texts and interleaved contents in, float32 vectors out, by sync and async calls."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Unpack

import numpy as np

from gemini2_core.content import Content, ContentLike
from gemini2_core.embedding import loop
from gemini2_core.embedding.arguments import choice, optional, positive, seconds, whole
from gemini2_core.embedding.assembly import combine_rows, fit_rows
from gemini2_core.embedding.cache import TwoCaches, VectorCache, open_cache
from gemini2_core.embedding.connection import Connection
from gemini2_core.embedding.engine import Engine
from gemini2_core.embedding.faults import read_fault
from gemini2_core.embedding.held import Held
from gemini2_core.embedding.inputs import read_inputs
from gemini2_core.embedding.pace import RateLimiter
from gemini2_core.embedding.plan import Aggregate, OnEmpty, OnOverflow, Plan, make_plan
from gemini2_core.embedding.progress import progress_bar
from gemini2_core.embedding.result import EmbeddingResult, Usage
from gemini2_core.embedding.run import Limits, Progress
from gemini2_core.embedding.transport import open_transport
from gemini2_core.errors import ClosedError, ConfigurationError
from gemini2_core.model import (
    DEFAULT_DIMENSIONS,
    DEFAULT_MODEL,
    MAX_BATCH_ITEMS,
    Backend,
    EmbeddingSpace,
    Modality,
    Side,
    TaskType,
    check_dimensions,
    model_spec,
)
from gemini2_core.model import task_type as read_task_type

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.genai import Client
    from google.genai.types import HttpOptions

    from gemini2_core.embedding.batch import BatchOptions, BatchRun

__all__ = ["Gemini2Embedder", "Secret"]

_NEVER_PICKLED = {"api_key", "credentials", "on_progress"}
#: May hold secrets, and the environment of another process hasn't got them: without them a copy
#: would ask another service, or none.
_UNPORTABLE = ("client", "http_options")
#: An async call with more inputs than this is planned in a thread, not on the caller's loop.
_PLANNED_INLINE = 64


class Secret(Protocol):
    """A key in a wrapper, such as pydantic's ``SecretStr``."""

    def get_secret_value(self) -> str:
        """The key itself."""


class Gemini2Embedder:
    """Embeds with a Gemini model; the two framework adapters are thin covers of this class.

    Every input is anything ``Content.of`` takes: a str is text, a ``Path`` a medium, a list the
    parts of one interleaved content. Building an embedder checks the arguments and opens
    nothing. It may be used from many threads and loops at once; they share its budgets.

    Args:
        model: A name of the table of models.
        api_key: Key of the Gemini API; from ``GOOGLE_API_KEY`` or ``GEMINI_API_KEY`` if None.
        base_url: Another server, such as the emulator's.
        dimensions: Size of the vectors: 768, 1536, 3072 or, with a warning, from 128 on.
        task_type: What the vectors are for; the query and the document side follow from it.
            None embeds text as it is.
        media_root: A folder. If set, a str is Markdown, and its media links are read from there.
        media_in_queries: Read media links in queries too. They often come from strangers.
        allow_remote: Fetch media from ``https:`` addresses.
        vertexai: Use Vertex AI; None asks the environment.
        project: Google Cloud project, for Vertex.
        location: ``"global"``, ``"us"`` or ``"eu"``, for Vertex.
        credentials: google-auth credentials, for Vertex.
        client: Your own ``genai.Client``. It's never closed here, and slower than the way the
            embedder builds itself.
        http_options: Further options of google-genai.
        cache: A path of a SQLite file, or an object with ``mget`` and ``mset``. With a cache
            vectors are fetched at full size, so that a row serves every size.
        max_concurrency: Most requests in flight.
        batch_size: Most items in a request, up to 100.
        requests_per_minute: Your quota, counted in items as the service counts.
        tokens_per_minute: Your quota of tokens.
        rate_limiter: LangChain's or LlamaIndex's limiter, asked once an item.
        retry_seconds: How long a request may keep failing, or the quota stay used up without
            any progress, before the call ends with an error.
        timeout: Seconds for one request.
        on_overflow: A text over the model's limit: ``"average"`` embeds windows on sentence
            borders and averages them by length, ``"error"``, or ``"truncate"`` with a warning.
        on_empty: A text without a character to embed: ``"error"``, ``"zero"`` for a vector of
            zeros, ``"skip"`` for no row.
        on_progress: Called with (done, total) items, on the engine's thread.
        show_progress: Show a progress bar.

    Raises:
        ConfigurationError: An argument can't work.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        api_key: str | Secret | None = None,
        base_url: str | None = None,
        dimensions: int = DEFAULT_DIMENSIONS,
        task_type: TaskType | str | None = TaskType.RETRIEVAL_QUERY,
        media_root: str | Path | None = None,
        media_in_queries: bool = False,
        allow_remote: bool = False,
        vertexai: bool | None = None,
        project: str | None = None,
        location: str | None = None,
        credentials: Credentials | None = None,
        client: Client | None = None,
        http_options: HttpOptions | Mapping[str, object] | None = None,
        cache: str | Path | VectorCache | None = None,
        max_concurrency: int = 8,
        batch_size: int = 40,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        rate_limiter: RateLimiter | None = None,
        retry_seconds: float = 300.0,
        timeout: float = 60.0,
        on_overflow: OnOverflow = "average",
        on_empty: OnEmpty = "error",
        on_progress: Progress | None = None,
        show_progress: bool = False,
    ) -> None:
        # What a copy is made from; the key and what is bound to this process don't leave it.
        self._arguments = {name: value for name, value in locals().items() if name != "self"}
        self._spec = model_spec(model)
        self._dimensions = check_dimensions(self._spec, whole("dimensions", dimensions))
        self._task = read_task_type(task_type)
        self._space = EmbeddingSpace.of(self._spec, self._task)
        self._media_root = None if media_root is None else Path(media_root).expanduser()
        if self._media_root is not None and not self._media_root.is_dir():
            raise ConfigurationError(f"media_root={str(media_root)!r} is no folder")
        self._media_in_queries = media_in_queries
        self._allow_remote = allow_remote
        self._on_overflow: OnOverflow = choice(
            "on_overflow", on_overflow, ("average", "error", "truncate")
        )
        self._on_empty: OnEmpty = choice("on_empty", on_empty, ("error", "zero", "skip"))
        self._on_progress = on_progress
        self._show_progress = show_progress
        self._limits = Limits(
            max_concurrency=positive("max_concurrency", max_concurrency),
            batch_size=positive("batch_size", batch_size, MAX_BATCH_ITEMS),
            requests_per_minute=optional("requests_per_minute", requests_per_minute),
            tokens_per_minute=optional("tokens_per_minute", tokens_per_minute),
            rate_limiter=rate_limiter,
            retry_seconds=seconds("retry_seconds", retry_seconds),
        )
        seconds("timeout", timeout)
        key = api_key if api_key is None or isinstance(api_key, str) else api_key.get_secret_value()
        self._connection: Connection | Client = client or Connection.resolve(
            api_key=key,
            base_url=base_url,
            vertexai=vertexai,
            project=project,
            location=location,
            credentials=credentials,
            http_options=http_options,
            timeout=timeout,
        )
        self._cache = open_cache(cache)
        self._batch_size = batch_size
        self._kept: VectorCache | None = None
        self._origin: Gemini2Embedder | None = None
        self._held = Held()
        # An embedder that is dropped without close() mustn't leave connections behind.
        weakref.finalize(self, Held.drop, self._held)

    # What it is

    @property
    def model(self) -> str:
        """The model's name on the wire."""
        return self._spec.id

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return self._dimensions

    @property
    def task_type(self) -> TaskType | None:
        """What the vectors are for."""
        return self._task

    @property
    def space(self) -> EmbeddingSpace:
        """The space the vectors live in; store ``str(space)`` with an index."""
        return self._space

    @property
    def batch_size(self) -> int:
        """Most items in a request."""
        return self._batch_size

    @property
    def max_concurrency(self) -> int:
        """Most requests in flight."""
        return self._limits.max_concurrency

    @property
    def usage(self) -> Usage:
        """What all calls so far sent and cost together, failed ones included."""
        return self._held.usage

    @property
    def backend(self) -> Backend:
        """Gemini API or Vertex."""
        if isinstance(self._connection, Connection):
            return self._connection.backend
        return Backend.VERTEX if self._connection.vertexai else Backend.GEMINI_API

    # What would be embedded

    def read_document(self, value: ContentLike, title: str | None = None) -> Content:
        """The content that an input of ``embed_documents`` is read as; nothing is sent.

        Args:
            value: A text (Markdown, if there is a ``media_root``) or a content with media.
            title: Told to the model with it.

        Raises:
            InvalidInputError: It can't be embedded.
        """
        return Content.of(
            value, media_root=self._media_root, title=title, allow_remote=self._allow_remote
        )

    def document_tokens(self, content: Content) -> dict[Modality, int]:
        """Tokens by modality that embedding a document takes, by our own count; nothing is sent.

        Raises:
            InvalidInputError: It can't be embedded: it is empty, or over a limit of the model.
        """
        plan = make_plan(
            [content],
            spec=self._spec,
            backend=self.backend,
            task=self._task,
            side="document",
            on_empty=self._on_empty,
        )
        tokens: dict[Modality, int] = {}
        for pieces in plan.pieces:
            for item, _ in pieces:
                for modality, count in item.tokens.items():
                    tokens[modality] = tokens.get(modality, 0) + count
        return tokens

    def dollars(self, tokens: Mapping[Modality, int], *, batch_api: bool = False) -> float:
        """Price of ``tokens`` by modality, US dollars; the Batch API takes half."""
        return self._spec.dollars(tokens, batch_api=batch_api)

    @property
    def base_url(self) -> str | None:
        """The other server that is asked; None for Google's, or for a client of the caller's."""
        return self._connection.base_url if isinstance(self._connection, Connection) else None

    # Embedding

    def embed_queries(self, queries: Sequence[ContentLike]) -> EmbeddingResult:
        """Embed questions, told the query side of the task.

        Args:
            queries: Texts; or contents with media (a str's links are only read with
                ``media_in_queries=True``).

        Returns:
            One row a query, in order.

        Raises:
            InvalidInputError: A query can't be embedded; ``.index`` says which.
            ServiceError: The service kept failing; ``.partial`` holds what was embedded.
        """
        return self._embed(queries, "query", None, "joint")

    def embed_documents(
        self, texts: Sequence[ContentLike], titles: Sequence[str | None] | None = None
    ) -> EmbeddingResult:
        """Embed documents, told the document side of the task.

        Args:
            texts: Texts (Markdown, if there is a ``media_root``) or contents with media.
            titles: One a text, told to the model with it; None for a text without.

        Returns:
            One row a text, in order.

        Raises:
            InvalidInputError: A text can't be embedded; ``.index`` says which.
            ServiceError: The service kept failing; ``.partial`` holds what was embedded.
        """
        return self._embed(texts, "document", titles, "joint")

    def embed_contents(
        self,
        contents: Sequence[ContentLike],
        *,
        side: Side = "document",
        titles: Sequence[str | None] | None = None,
        aggregate: Aggregate = "joint",
    ) -> EmbeddingResult:
        """Embed interleaved contents.

        Args:
            contents: Each a text, a medium, or a list of both.
            side: Which side of the task they are.
            titles: One a content.
            aggregate: ``"joint"`` fuses the parts of a content into one vector, for parts that
                belong together; ``"mean"`` embeds them apart and averages, for posts with
                several pictures.

        Returns:
            One row a content, in order.

        Raises:
            InvalidInputError: A content can't be embedded; ``.index`` says which.
            ServiceError: The service kept failing; ``.partial`` holds what was embedded.
        """
        return self._embed(contents, side, titles, aggregate)

    async def aembed_queries(self, queries: Sequence[ContentLike]) -> EmbeddingResult:
        """``embed_queries``, awaited."""
        return await self._aembed(queries, "query", None, "joint")

    async def aembed_documents(
        self, texts: Sequence[ContentLike], titles: Sequence[str | None] | None = None
    ) -> EmbeddingResult:
        """``embed_documents``, awaited."""
        return await self._aembed(texts, "document", titles, "joint")

    async def aembed_contents(
        self,
        contents: Sequence[ContentLike],
        *,
        side: Side = "document",
        titles: Sequence[str | None] | None = None,
        aggregate: Aggregate = "joint",
    ) -> EmbeddingResult:
        """``embed_contents``, awaited."""
        return await self._aembed(contents, side, titles, aggregate)

    def batch(self, state: str | Path, **options: Unpack[BatchOptions]) -> BatchRun:
        """A run of the Batch API: half the price, within hours (Gemini API only).

        Args:
            state: A file that keeps the run; made if it isn't there. Any process that opens it
                goes on with the run.
            **options: Fields of ``gemini2_core.embedding.batch.BatchSettings``.

        Raises:
            ConfigurationError: Vertex, an option out of range, or a state file of another run.
        """
        from gemini2_core.embedding.batch import BatchRun, BatchSettings, Origin

        if self.backend is Backend.VERTEX:
            raise ConfigurationError(
                "the Batch API of embeddings is the Gemini API's alone: pass an api_key= of it "
                "instead of Vertex, or embed online"
            )
        settings = BatchSettings(**options)
        if settings.dimensions is not None:
            check_dimensions(self._spec, settings.dimensions)
        held = self._connection
        origin = Origin(
            spec=self._spec,
            space=self._space,
            task=self._task.value if self._task else "",
            dimensions=self._dimensions,
            client=partial(self._held.sdk_client, held),
            secret=held.api_key if isinstance(held, Connection) else None,
            cache=self._cache,
            retry_seconds=self._limits.retry_seconds,
            on_overflow=self._on_overflow,
            plan=self._plan,
            engine=self._engine,
            spent=self._held.spend,
            on_progress=self._on_progress,
            show_progress=self._show_progress,
        )
        return BatchRun(Path(state).expanduser(), origin, settings)

    def _embed(
        self,
        inputs: Sequence[ContentLike],
        side: Side,
        titles: Sequence[str | None] | None,
        aggregate: Aggregate,
    ) -> EmbeddingResult:
        plan = self._plan(inputs, side, titles, aggregate)
        return loop.run(self._execute(plan))

    async def _aembed(
        self,
        inputs: Sequence[ContentLike],
        side: Side,
        titles: Sequence[str | None] | None,
        aggregate: Aggregate,
    ) -> EmbeddingResult:
        # Media are measured (files are opened, addresses fetched) when planned; a few texts
        # without any are quicker inline.
        if len(inputs) <= _PLANNED_INLINE and all(
            isinstance(i, str) and len(i) < 10_000 and (self._media_root is None or "![" not in i)
            for i in inputs
        ):
            plan = self._plan(inputs, side, titles, aggregate)
        else:
            plan = await asyncio.to_thread(self._plan, inputs, side, titles, aggregate)
        return await loop.run_async(self._execute(plan))

    def _plan(
        self,
        inputs: Sequence[ContentLike],
        side: Side,
        titles: Sequence[str | None] | None,
        aggregate: Aggregate,
    ) -> Plan:
        if self._held.closed:
            raise ClosedError("this embedder was closed: make a new one")
        choice("aggregate", aggregate, ("joint", "mean"))
        choice("side", side, ("query", "document"))
        root = self._media_root if side == "document" or self._media_in_queries else None
        contents = read_inputs(inputs, titles, media_root=root, allow_remote=self._allow_remote)
        return make_plan(
            contents,
            spec=self._spec,
            backend=self.backend,
            task=self._task,
            side=side,
            aggregate=aggregate,
            on_empty=self._on_empty,
        )

    # Counting

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of texts by the service's own count, as embedding bills them.

        Args:
            texts: Texts as they would be sent; no prompt is put before them here.

        Returns:
            One number a text, in order.

        Raises:
            ServiceError: The service kept failing.
        """
        return loop.run(self._count_tokens(list(texts)))

    async def acount_tokens(self, texts: Sequence[str]) -> list[int]:
        """``count_tokens``, awaited."""
        return await loop.run_async(self._count_tokens(list(texts)))

    async def _count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await (await self._engine()).count_tokens(texts)

    # On the background loop

    async def _execute(self, plan: Plan) -> EmbeddingResult:
        engine = await self._engine()
        await engine.settle(plan, self._on_overflow)
        if plan.light:
            items, place_of = plan.unique_items()
        else:
            items, place_of = await asyncio.to_thread(plan.unique_items)
        pieces = [[(place_of[id(item)], weight) for item, weight in some] for some in plan.pieces]
        duplicates = Usage(duplicates=sum(map(len, pieces)) - len(items))
        with progress_bar(self._show_progress, self._on_progress) as progress:
            run = engine.run(items, self._dimensions, progress, self._batch_size, self._kept)
            try:
                outcome = await run.go()
            finally:  # a cancelled call is billed too
                usage = run.usage + duplicates
                self._held.usage += usage
        rows = fit_rows(outcome.rows, self._dimensions, self._spec)
        vectors, whole = combine_rows(rows, outcome.done, pieces)
        indices = np.array(plan.indices, np.int64)[whole]
        result = EmbeddingResult(vectors, indices, usage, self._space)
        if outcome.error is None:
            return result
        if outcome.place is not None:
            uses = (any(place == outcome.place for place, _ in some) for some in pieces)
            outcome.error.at(plan.indices[next(n for n, used in enumerate(uses) if used)])
        outcome.error.partial = result if len(result) else None
        raise outcome.error

    async def _engine(self) -> Engine:
        """The engine on the loop, opened at the first call (and again in a forked child)."""
        if self._held.closed:
            raise ClosedError("this embedder was closed: make a new one")
        held, here = self._held, asyncio.get_running_loop()
        if held.engine is None or held.loop is not here:
            held.loop, held.engine = here, asyncio.ensure_future(self._open())
        try:
            return await asyncio.shield(held.engine)
        except Exception:
            held.engine = None  # the next call may find credentials
            raise

    async def _open(self) -> Engine:
        secret = self._connection.api_key if isinstance(self._connection, Connection) else None
        try:
            await asyncio.to_thread(_import_sdk)
            transport = await open_transport(
                self._connection, self._spec, self._limits.max_concurrency
            )
        except Exception as error:
            raise read_fault(error, secret).error from error
        return Engine(transport, self._spec, self._limits, self._cache, secret)

    # Its end

    def close(self) -> None:
        """Close the connections; later calls raise ``ClosedError``. Your own client stays open."""
        self._held.closed = True
        self._held.drop()

    async def aclose(self) -> None:
        """``close``, awaited."""
        self.close()

    def __enter__(self) -> Gemini2Embedder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Gemini2Embedder:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # Copies: within the process with the key, out of it without

    def variant(
        self, *, dimensions: int, task_type: TaskType | str | None, batch_size: int
    ) -> Gemini2Embedder:
        """One for a call with settings of its own: connections, budgets and usage are shared.

        Closing either closes both.

        Args:
            dimensions: Size of its vectors.
            task_type: What its vectors are for.
            batch_size: Most items in one of its requests.

        Raises:
            ConfigurationError: An argument can't work.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._origin = self  # whose end closes the connections
        if dimensions != self._dimensions:  # which has been checked, with its warning
            other._dimensions = check_dimensions(self._spec, dimensions)
        other._task = read_task_type(task_type)
        other._space = EmbeddingSpace.of(self._spec, other._task)
        other._batch_size = positive("batch_size", batch_size, MAX_BATCH_ITEMS)
        other._arguments = {
            **self._arguments,
            "dimensions": dimensions,
            "task_type": task_type,
            "batch_size": batch_size,
        }
        return other

    def keeping(
        self, rows: VectorCache, *, dimensions: int, batch_size: int | None = None
    ) -> Gemini2Embedder:
        """One that puts every row into ``rows`` as soon as its answer comes, and looks there first.

        For work that has to outlive its process: what was paid for is kept before the call
        returns. Rows have ``dimensions`` numbers; with a cache of the embedder's own they are
        full ones, and that cache is asked and filled as well. Connections, budgets and usage
        are shared.

        Args:
            rows: Where rows are kept.
            dimensions: Size of its vectors.
            batch_size: Most items in one of its requests; None for the embedder's own.

        Raises:
            ConfigurationError: A size that the model can't give.
        """
        other = self.variant(
            dimensions=dimensions,
            task_type=self._task,
            batch_size=self._batch_size if batch_size is None else batch_size,
        )
        other._kept = rows if self._cache is None else TwoCaches(rows, self._cache)
        return other

    def __deepcopy__(self, memo: dict[int, object]) -> Gemini2Embedder:
        return type(self)(**self._arguments)

    def __copy__(self) -> Gemini2Embedder:
        return type(self)(**self._arguments)

    def __getstate__(self) -> dict[str, Any]:
        held = [name for name in _UNPORTABLE if self._arguments[name] is not None]
        if held:
            raise ConfigurationError(
                f"can't be pickled with {' and '.join(held)}, which may hold secrets: make the "
                "embedder in the other process"
            )
        return {k: v for k, v in self._arguments.items() if k not in _NEVER_PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # as pickle means it

    def __repr__(self) -> str:
        task = self._task.value if self._task else None
        return (
            f"Gemini2Embedder({self.model!r}, dimensions={self._dimensions}, task_type={task!r}, "
            f"backend={self.backend.value!r})"
        )


def _import_sdk() -> None:
    """Half a second of importing, in a thread so that the loop goes on."""
    import google.genai  # noqa: F401
