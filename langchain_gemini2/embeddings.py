"""``Gemini2Embeddings``: Gemini Embedding 2 as a LangChain embedding model."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from langchain_core.embeddings import Embeddings
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.utils import secret_from_env
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)

from gemini2_core.content import Media
from gemini2_core.embedding import Aggregate, Gemini2Embedder, OnOverflow, Usage, VectorCache
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import (
    DEFAULT_DIMENSIONS,
    DEFAULT_MODEL,
    EmbeddingSpace,
    Modality,
    Side,
    TaskType,
    model_spec,
)
from langchain_gemini2.inputs import Embeddable, contents_of, media_of
from langchain_gemini2.official import (
    base_url_of,
    http_options_of,
    side_of,
    task_type_of,
    timeout_of,
    titles_of,
    wants_vertex,
    warn_of_transport,
)

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.genai import Client
    from google.genai.types import HttpOptions
else:  # pydantic reads the annotations, and google.genai takes half a second to import
    Credentials = Client = HttpOptions = Any

__all__ = ["Gemini2Embeddings"]

_Uri: TypeAlias = "str | PathLike[str] | bytes | Media"
#: Never leave the process: re-read from the environment in another one.
_SECRET = frozenset({"api_key", "credentials", "on_progress"})
#: May hold secrets or connections, and can't be had again from the environment.
_UNPORTABLE = ("client", "http_options", "additional_headers", "client_args")
#: What a client of the caller's already decides.
_CLIENTS_OWN = (
    "api_key",
    "base_url",
    "vertexai",
    "project",
    "location",
    "credentials",
    "http_options",
    "additional_headers",
    "client_args",
    "client_options",
    "api_version",
)


class Gemini2Embeddings(BaseModel, Embeddings):
    """Gemini Embedding 2 for any chain, retriever or vector store of LangChain.

    Takes the place of ``GoogleGenerativeAIEmbeddings``, whose arguments work here too. Texts are
    told their task as the model reads it, requests run concurrently, each input gets its own
    vector.

    Example:
        >>> from langchain_core.vectorstores import InMemoryVectorStore
        >>> from langchain_gemini2 import Gemini2Embeddings
        >>> embeddings = Gemini2Embeddings(media_root="manual/")  # doctest: +SKIP
        >>> store = InMemoryVectorStore(embeddings)  # doctest: +SKIP
        >>> store.add_texts(["The pump: ![exploded view](figures/pump.png)"])  # doctest: +SKIP

    An instance can't be changed: ``model_copy(update={"dimensions": 3072})`` makes another one.
    Pickles and copies to other processes leave the key out; it's read again from
    ``GOOGLE_API_KEY`` or ``GEMINI_API_KEY`` there.

    Raises:
        ConfigurationError: An argument that doesn't exist or can't work. No value is in it.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    model: str = DEFAULT_MODEL
    """A name of the table of models, with or without ``models/`` in front."""
    api_key: SecretStr | None = Field(
        default_factory=secret_from_env(["GOOGLE_API_KEY", "GEMINI_API_KEY"], default=None),
        validation_alias=AliasChoices("google_api_key", "api_key"),
        repr=False,
    )
    """Key of the Gemini API; also called ``google_api_key``."""
    dimensions: int = Field(
        default=DEFAULT_DIMENSIONS,
        validation_alias=AliasChoices("output_dimensionality", "dimensions"),
    )
    """Size of the vectors: 768, 1536, 3072 or, with a warning, anything from 128 on; also called
    ``output_dimensionality``."""
    task_type: TaskType | None = TaskType.RETRIEVAL_QUERY
    """What the vectors are for; the query and the document side follow from it. None embeds text
    as it is."""
    base_url: str | None = Field(default=None, repr=False)
    """Another server, such as the emulator's."""
    media_root: str | Path | None = None
    """A folder. If set, documents are Markdown: the media their links name in it are embedded
    together with the text, so every vector store becomes multimodal through ``add_documents``."""
    media_in_queries: bool = False
    """Read media links in queries too. Queries often come from strangers."""
    allow_remote: bool = False
    """Fetch media from ``https:`` addresses."""
    vertexai: bool | None = None
    """Use Vertex AI. None asks ``GOOGLE_GENAI_USE_VERTEXAI``, then whether a project or
    credentials are given."""
    project: str | None = None
    """Google Cloud project, for Vertex."""
    location: str | None = None
    """``"global"``, ``"us"`` or ``"eu"``, for Vertex."""
    credentials: Credentials | None = Field(default=None, exclude=True, repr=False)
    """google-auth credentials, for Vertex."""
    client: Client | None = Field(default=None, exclude=True, repr=False)
    """Your own ``genai.Client``. It is never closed here."""
    http_options: HttpOptions | Mapping[str, Any] | None = Field(
        default=None, exclude=True, repr=False
    )
    """Further options of google-genai."""
    cache: str | Path | VectorCache | None = Field(default=None, exclude=True, repr=False)
    """A path of a SQLite file, or an object with ``mget`` and ``mset``, such as LangChain's
    ``BaseStore[str, bytes]``."""
    max_concurrency: int = 8
    """Most requests in flight."""
    batch_size: int = 40
    """Most inputs in a request, up to 100."""
    requests_per_minute: int | None = None
    """Your quota, counted in inputs as the service counts."""
    tokens_per_minute: int | None = None
    """Your quota of tokens."""
    rate_limiter: BaseRateLimiter | None = Field(default=None, exclude=True, repr=False)
    """A limiter of LangChain's, asked once an input."""
    retry_seconds: float = 300.0
    """How long a request may keep failing before the call ends with an error."""
    timeout: float = 60.0
    """Seconds for one request."""
    on_overflow: OnOverflow = "average"
    """A text over the model's limit: ``"average"`` embeds windows on sentence borders and averages
    them by length; ``"error"``; ``"truncate"`` warns."""
    on_empty: Literal["error", "zero"] = "error"
    """A text without a character to embed: an error that names it, or a vector of zeros. The core's
    third way, to leave it out, isn't offered: a LangChain store takes the n-th vector as the n-th
    text's."""
    on_progress: Callable[[int, int], object] | None = Field(default=None, exclude=True, repr=False)
    """Called with (done, total) inputs, on another thread."""
    show_progress: bool = False
    """Show a progress bar (tqdm)."""
    additional_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Official class: headers of each request."""
    client_args: Mapping[str, Any] | None = Field(default=None, exclude=True, repr=False)
    """Official class: arguments of the HTTP client, such as ``proxy``. Slower: requests then go
    through the SDK's own client."""
    api_version: str | None = None
    """Official class: another version in the path."""
    request_options: Mapping[str, Any] | None = Field(default=None, exclude=True, repr=False)
    """Official class: ``{"timeout": 10}``, in seconds; anything else has no effect and warns."""
    client_options: Mapping[str, Any] | None = Field(default=None, exclude=True, repr=False)
    """Official class before 4.0: ``{"api_endpoint": …}`` is the ``base_url``; anything else has no
    effect and warns."""
    transport: str | None = Field(default=None, exclude=True, repr=False)
    """Official class before 4.0: there is only ``"rest"``; ``"grpc"`` has no effect and warns."""

    _embedder: Gemini2Embedder = PrivateAttr()

    if not TYPE_CHECKING:  # type checkers make the signature from the fields

        def __init__(self, **arguments: object) -> None:
            problem: str | None = None
            try:
                super().__init__(**arguments)
            except ValidationError as error:
                problem = _told(error, type(self))
            if problem is not None:
                # Outside of the handler: pydantic's error holds the arguments, with the key.
                raise ConfigurationError(problem)
            model_spec(self.model)  # warns the caller; the core would warn us
            self._embedder = self._build()

    @field_validator("model")
    @classmethod
    def _bare_name(cls, value: str) -> str:
        return value.removeprefix("models/")

    @field_validator("dimensions", mode="before")
    @classmethod
    def _default_size(cls, value: object) -> object:
        return DEFAULT_DIMENSIONS if value is None else value

    @field_validator("task_type", mode="before")
    @classmethod
    def _known_task(cls, value: TaskType | str | None) -> TaskType | None:
        return task_type_of(value)

    def _build(self) -> Gemini2Embedder:
        given = self.model_fields_set
        if self.client is not None:
            double = [name for name in _CLIENTS_OWN if name in given and getattr(self, name)]
            if double:
                raise ConfigurationError(
                    f"client= brings its own {', '.join(double)}: pass one or the other"
                )
        warn_of_transport(self.transport, stacklevel=3)
        return Gemini2Embedder(
            self.model,
            api_key=self.api_key,
            base_url=base_url_of(self.base_url, self.client_options, stacklevel=3),
            dimensions=self.dimensions,
            task_type=self.task_type,
            media_root=self.media_root,
            media_in_queries=self.media_in_queries,
            allow_remote=self.allow_remote,
            vertexai=wants_vertex(
                self.vertexai,
                project=self.project is not None,
                credentials=self.credentials is not None,
            ),
            project=self.project,
            location=self.location,
            credentials=self.credentials,
            client=self.client,
            http_options=http_options_of(
                self.http_options,
                headers=self.additional_headers,
                api_version=self.api_version,
                client_args=self.client_args,
            ),
            cache=self.cache,
            max_concurrency=self.max_concurrency,
            batch_size=self.batch_size,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            rate_limiter=self.rate_limiter,
            retry_seconds=self.retry_seconds,
            timeout=timeout_of(self.timeout, self.request_options, stacklevel=3),
            on_overflow=self.on_overflow,
            on_empty=self.on_empty,
            on_progress=self.on_progress,
            show_progress=self.show_progress,
        )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        shown = {"model", "dimensions", "task_type"} | self.model_fields_set
        return [(name, value) for name, value in super().__repr_args__() if name in shown]

    # What it is

    @property
    def embedder(self) -> Gemini2Embedder:
        """The core's embedder underneath: float32 arrays, usage of each call."""
        return self._embedder

    @property
    def space(self) -> EmbeddingSpace:
        """The space the vectors live in; store ``str(space)`` with an index."""
        return self._embedder.space

    @property
    def usage(self) -> Usage:
        """What all calls so far sent and cost together: tokens by modality, requests, dollars."""
        return self._embedder.usage

    # Text, as LangChain calls it

    def embed_documents(
        self,
        texts: list[str],
        *,
        batch_size: int | None = None,
        task_type: TaskType | str | None = None,
        titles: Sequence[str | None] | None = None,
        output_dimensionality: int | None = None,
    ) -> list[list[float]]:
        """Embed documents, told the document side of the task.

        Args:
            texts: Texts; Markdown with media links, if there is a ``media_root``.
            batch_size: Most texts in a request, for this call.
            task_type: Another task for this call. ``"RETRIEVAL_QUERY"`` embeds the texts as
                queries.
            titles: One a text, told to the model with it.
            output_dimensionality: Another size for this call.

        Returns:
            One vector a text, in order, of unit length.

        Raises:
            InvalidInputError: A text can't be embedded; ``.index`` says which.
            ServiceError: The service kept failing; ``.partial`` holds what was embedded.
        """
        embedder, side = self._for_call("document", task_type, output_dimensionality, batch_size)
        return embedder.embed_contents(texts, side=side, titles=titles).tolist()

    async def aembed_documents(
        self,
        texts: list[str],
        *,
        batch_size: int | None = None,
        task_type: TaskType | str | None = None,
        titles: Sequence[str | None] | None = None,
        output_dimensionality: int | None = None,
    ) -> list[list[float]]:
        """``embed_documents``, awaited."""
        embedder, side = self._for_call("document", task_type, output_dimensionality, batch_size)
        result = await embedder.aembed_contents(texts, side=side, titles=titles)
        return result.tolist()

    def embed_query(
        self,
        text: str,
        *,
        task_type: TaskType | str | None = None,
        title: str | None = None,
        output_dimensionality: int | None = None,
    ) -> list[float]:
        """Embed a query, told the query side of the task.

        Args:
            text: The query; its media links are only read with ``media_in_queries=True``.
            task_type: Another task for this call. ``"RETRIEVAL_DOCUMENT"`` embeds the text as a
                document.
            title: Title of a text that is embedded as a document; a query has none.
            output_dimensionality: Another size for this call.

        Returns:
            A vector of unit length.

        Raises:
            InvalidInputError: The text can't be embedded.
            ServiceError: The service kept failing.
        """
        embedder, side = self._for_call("query", task_type, output_dimensionality)
        titles = titles_of(title, side, stacklevel=2)
        return embedder.embed_contents([text], side=side, titles=titles).tolist()[0]

    async def aembed_query(
        self,
        text: str,
        *,
        task_type: TaskType | str | None = None,
        title: str | None = None,
        output_dimensionality: int | None = None,
    ) -> list[float]:
        """``embed_query``, awaited."""
        embedder, side = self._for_call("query", task_type, output_dimensionality)
        titles = titles_of(title, side, stacklevel=2)
        result = await embedder.aembed_contents([text], side=side, titles=titles)
        return result.tolist()[0]

    # Text and media together

    def embed_contents(
        self,
        contents: Sequence[Embeddable],
        *,
        titles: Sequence[str | None] | None = None,
        aggregate: Aggregate = "joint",
    ) -> list[list[float]]:
        """Embed interleaved documents, one vector each.

        Args:
            contents: Each a list of content blocks, a message or its content, a ``Document`` or
                ``Blob``, a ``Path``, a ``PIL`` image, a ``Content``, a text, or a list of these.
            titles: One a content; a ``Document`` brings its ``metadata["title"]``.
            aggregate: ``"joint"`` fuses the parts of a content into one vector; ``"mean"`` embeds
                them apart and averages, for posts with several pictures.

        Returns:
            One vector a content, in order, of unit length.

        Raises:
            InvalidInputError: A content can't be embedded; ``.index`` says which.
            ServiceError: The service kept failing; ``.partial`` holds what was embedded.
        """
        plain, titles = contents_of(contents, titles)
        return self._embedder.embed_contents(plain, titles=titles, aggregate=aggregate).tolist()

    async def aembed_contents(
        self,
        contents: Sequence[Embeddable],
        *,
        titles: Sequence[str | None] | None = None,
        aggregate: Aggregate = "joint",
    ) -> list[list[float]]:
        """``embed_contents``, awaited."""
        plain, titles = await asyncio.to_thread(contents_of, contents, titles)
        result = await self._embedder.aembed_contents(plain, titles=titles, aggregate=aggregate)
        return result.tolist()

    def embed_query_content(
        self, content: Embeddable, *, aggregate: Aggregate = "joint"
    ) -> list[float]:
        """Embed a query that holds media, or is one: a photo, a recording.

        Args:
            content: What ``embed_contents`` takes as one content. Media given as such are read;
                links in a text only with ``media_in_queries=True``.
            aggregate: As there.

        Returns:
            A vector of unit length.
        """
        plain, titles = contents_of([content], None)
        result = self._embedder.embed_contents(
            plain, side="query", titles=titles, aggregate=aggregate
        )
        return result.tolist()[0]

    async def aembed_query_content(
        self, content: Embeddable, *, aggregate: Aggregate = "joint"
    ) -> list[float]:
        """``embed_query_content``, awaited."""
        plain, titles = await asyncio.to_thread(contents_of, [content], None)
        result = await self._embedder.aembed_contents(
            plain, side="query", titles=titles, aggregate=aggregate
        )
        return result.tolist()[0]

    # Media alone, by path or URI

    def embed_image(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """Embed pictures; Chroma's ``add_images`` and ``similarity_search_by_image`` call it.

        Args:
            uris: Each a local path of yours, which may lie anywhere; a ``data:``, ``file:`` or
                ``gs:`` URI; a file of the Files API; with ``allow_remote=True`` an ``https:``
                address. A medium is sent bare, so it's the same vector as query and as document.

        Returns:
            One vector a picture, in order, of unit length.

        Raises:
            InvalidInputError: Not there, or no picture; ``.index`` says which.
        """
        return self._embed_media(uris, Modality.IMAGE)

    def embed_audio(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """Embed sounds, up to 180 s each (``"idle.wav#t=0,30"`` is a span of one).

        See ``embed_image``.
        """
        return self._embed_media(uris, Modality.AUDIO)

    def embed_video(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """Embed films, up to 120 s each (``"start.mp4#t=10,30"`` is a span of one).

        See ``embed_image``.
        """
        return self._embed_media(uris, Modality.VIDEO)

    def embed_pdf(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """Embed PDFs, up to 6 pages each (``"manual.pdf#page=3"`` is one page).

        See ``embed_image``.
        """
        return self._embed_media(uris, Modality.DOCUMENT)

    async def aembed_image(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """``embed_image``, awaited."""
        return await self._aembed_media(uris, Modality.IMAGE)

    async def aembed_audio(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """``embed_audio``, awaited."""
        return await self._aembed_media(uris, Modality.AUDIO)

    async def aembed_video(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """``embed_video``, awaited."""
        return await self._aembed_media(uris, Modality.VIDEO)

    async def aembed_pdf(self, uris: Sequence[_Uri]) -> list[list[float]]:
        """``embed_pdf``, awaited."""
        return await self._aembed_media(uris, Modality.DOCUMENT)

    def _embed_media(self, uris: Sequence[_Uri], modality: Modality) -> list[list[float]]:
        media = media_of(uris, modality, allow_remote=self.allow_remote)
        return self._embedder.embed_contents(media).tolist()

    async def _aembed_media(self, uris: Sequence[_Uri], modality: Modality) -> list[list[float]]:
        media = await asyncio.to_thread(media_of, uris, modality, allow_remote=self.allow_remote)
        return (await self._embedder.aembed_contents(media)).tolist()

    def _for_call(
        self,
        side: Side,
        task: TaskType | str | None,
        dimensions: int | None,
        batch_size: int | None = None,
    ) -> tuple[Gemini2Embedder, Side]:
        """The embedder for one call's own arguments, and the side it is on."""
        if task is None and dimensions is None and batch_size is None:
            return self._embedder, side
        called = self.task_type if task is None else task_type_of(task)
        embedder = self._embedder.variant(
            task_type=called,
            dimensions=self.dimensions if dimensions is None else dimensions,
            batch_size=self.batch_size if batch_size is None else batch_size,
        )
        return embedder, side if task is None else side_of(called, side)

    # Its end

    def close(self) -> None:
        """Close the connections; later calls raise ``ClosedError``. Your own client stays open."""
        self._embedder.close()

    async def aclose(self) -> None:
        """``close``, awaited."""
        await self._embedder.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # Copies are built anew, so that what is changed in them is checked and has an effect

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another one with some arguments changed; it has connections and usage of its own."""
        del deep
        arguments = {name: getattr(self, name) for name in self.model_fields_set}
        if self.client is None:
            arguments["api_key"] = self.api_key  # the environment may have changed since
        return type(self)(**{**arguments, **(update or {})})

    def __copy__(self) -> Self:
        return self.model_copy()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.model_copy()

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        held = [name for name in _UNPORTABLE if getattr(self, name) is not None]
        if held:
            raise ConfigurationError(
                f"can't be pickled with {', '.join(held)}, which may hold secrets: make it anew in "
                "the other process"
            )
        kept = self.model_fields_set - _SECRET
        return _rebuild, (type(self), {name: getattr(self, name) for name in kept})


def _rebuild(kind: type[Gemini2Embeddings], arguments: dict[str, Any]) -> Gemini2Embeddings:
    return kind(**arguments)


def _told(error: ValidationError, kind: type[BaseModel]) -> str:
    """What is wrong with the arguments, without their values."""
    names = [*kind.model_fields, "google_api_key", "output_dimensionality"]
    problems: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        cause = problem.get("ctx", {}).get("error")
        if problem["type"] != "extra_forbidden":
            told = f"{name}: {problem['msg']}" if cause is None else str(cause)
        elif name in names:
            told = f"{name!r} is given twice, the other time by its other name"
        else:
            close = difflib.get_close_matches(name, names, n=1)
            advice = f": did you mean {close[0]!r}?" if close else ""
            told = f"{kind.__name__} has no argument {name!r}{advice}"
        # A value that fits none of a field's types has an error for each.
        known = problems.setdefault(name, [])
        known.append(told.removeprefix(f"{name}: ") if known else told)
    return "; ".join(" or ".join(some) for some in problems.values())
