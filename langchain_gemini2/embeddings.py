"""``Gemini2Embeddings``: what it is made from, and how it is copied, pickled and closed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

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

from gemini2_core.embedding import Gemini2Embedder, OnOverflow, Usage, VectorCache
from gemini2_core.errors import ConfigurationError
from gemini2_core.model import (
    DEFAULT_DIMENSIONS,
    DEFAULT_MODEL,
    EmbeddingSpace,
    TaskType,
    model_spec,
)
from langchain_gemini2.calls import EmbeddingCalls
from langchain_gemini2.official import (
    base_url_of,
    http_options_of,
    task_type_of,
    timeout_of,
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


class Gemini2Embeddings(BaseModel, EmbeddingCalls):
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

    _embedder: Gemini2Embedder | None = PrivateAttr(default=None)

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
        """The core's embedder underneath: float32 arrays, usage of each call.

        Raises:
            ConfigurationError: It came from another process, and there is no key in this one.
        """
        if self._embedder is None:
            self._embedder = self._build()
        return self._embedder

    @property
    def space(self) -> EmbeddingSpace:
        """The space the vectors live in; store ``str(space)`` with an index."""
        return self.embedder.space

    @property
    def usage(self) -> Usage:
        """What all calls so far sent and cost together: tokens by modality, requests, dollars."""
        return self.embedder.usage

    # Its end

    def close(self) -> None:
        """Close the connections; later calls raise ``ClosedError``. Your own client stays open."""
        if self._embedder is not None:
            self._embedder.close()

    async def aclose(self) -> None:
        """``close``, awaited."""
        if self._embedder is not None:
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
    try:
        return kind(**arguments)
    except ConfigurationError:
        # Most likely there is no key, and the first call says so: an error here would kill the
        # process of a pool, and the pool would start another, and so on without an end.
        return kind.model_construct(**arguments)


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
