"""The table of models and of the service's limits: the only place that knows either."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from gemini2_core.errors import ConfigurationError

__all__ = [
    "BATCH_EXPIRY_SECONDS",
    "BATCH_TARGET_SECONDS",
    "COUNT_TOKENS_EXTRA",
    "DEFAULT_DIMENSIONS",
    "DEFAULT_MODEL",
    "FILES_API_BYTES",
    "MAX_BATCH_ITEMS",
    "MAX_BATCH_JOBS",
    "MAX_FILE_BYTES",
    "MAX_REQUEST_BYTES",
    "MODELS",
    "VERTEX_LOCATIONS",
    "Backend",
    "MediaLimit",
    "Modality",
    "ModelSpec",
    "check_dimensions",
    "model_spec",
]

DEFAULT_MODEL = "gemini-embedding-2"
#: 768 costs 0.18 MTEB points against 3072 and saves 75 % of the storage (the source article).
DEFAULT_DIMENSIONS = 768
#: Items of one ``batchEmbedContents``; more is a 400 (recordings/errors/400_batch_over_100).
MAX_BATCH_ITEMS = 100
#: Bytes of one request body. Documented as 100 MB, reported as less: 20 MB is safe either way.
MAX_REQUEST_BYTES = 20_000_000
#: Bytes of one medium above which it goes through the Files API (base64 adds a third).
FILES_API_BYTES = 12_000_000
#: Bytes of one file of the Files API, and so of a batch job's requests (Google's documentation).
MAX_FILE_BYTES = 2_000_000_000
#: Batch jobs of a project that may be under way at once (Google's documentation).
MAX_BATCH_JOBS = 100
#: In which time a batch job should end, and after which one that hasn't is expired; uploaded
#: files live as long (Google's documentation).
BATCH_TARGET_SECONDS = 24 * 3600
BATCH_EXPIRY_SECONDS = 48 * 3600
#: Vertex locations that serve the model (Google's documentation).
VERTEX_LOCATIONS = ("global", "us", "eu")

#: What ``countTokens`` answers beyond what embedding bills (recordings/count_tokens, of the Gemini
#: API; on Vertex not established).
COUNT_TOKENS_EXTRA = 1


class Backend(StrEnum):
    """Which of Google's two services answers."""

    GEMINI_API = "gemini"
    VERTEX = "vertex"


class Modality(StrEnum):
    """What a part is made of; the values are the service's own in ``usageMetadata``."""

    TEXT = "TEXT"
    IMAGE = "IMAGE"
    AUDIO = "AUDIO"
    VIDEO = "VIDEO"
    DOCUMENT = "DOCUMENT"


@dataclass(frozen=True, slots=True)
class MediaLimit:
    """What one content may hold of one modality.

    Attributes:
        mime_types: Types the service reads; others get an opaque 400.
        count: Media of this modality in one content, or None if no limit is known.
        seconds: Longest sound or film, or None.
        pages: Most PDF pages, or None.
    """

    mime_types: frozenset[str]
    count: int | None = None
    seconds: float | None = None
    pages: int | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of the table of models.

    Attributes:
        id: The model's name on the wire, without ``models/``.
        space: Name of the vector space; models of one space may be mixed in an index.
        max_input_tokens: Tokens of one content; more is cut silently by the service.
        tiers: The sizes the model was trained for, smallest first.
        min_dimensions: Smallest size the service takes.
        task_in_prompt: True if the task is told in the text, False if in the ``taskType`` field.
        unit_vectors: True if the service returns unit vectors at every size.
        dollars_per_million: Price of a million input tokens, by modality, online.
        limits: What one content may hold, by backend and modality.
        shut_down: Date of the model's announced end, or "".
    """

    id: str
    space: str
    max_input_tokens: int
    tiers: tuple[int, ...]
    min_dimensions: int
    task_in_prompt: bool
    unit_vectors: bool
    dollars_per_million: Mapping[Modality, float]
    limits: Mapping[Backend, Mapping[Modality, MediaLimit]]
    shut_down: str = ""

    @property
    def full_dimensions(self) -> int:
        """The size the service returns when none is asked for."""
        return self.tiers[-1]

    @property
    def multimodal(self) -> bool:
        """True if the model reads anything but text."""
        return len(self.dollars_per_million) > 1

    def dollars(self, tokens: Mapping[Modality, int], *, batch_api: bool = False) -> float:
        """Price of ``tokens`` by modality in US dollars; the Batch API takes half."""
        whole = sum(
            count * self.dollars_per_million.get(modality, 0.0) / 1e6
            for modality, count in tokens.items()
        )
        return whole / 2 if batch_api else whole


_AUDIO = MediaLimit(frozenset({"audio/mpeg", "audio/wav"}), seconds=180)
_PDF = MediaLimit(frozenset({"application/pdf"}), count=1, pages=6)
_GEMINI_API_LIMITS: Mapping[Modality, MediaLimit] = MappingProxyType(
    {
        Modality.IMAGE: MediaLimit(frozenset({"image/png", "image/jpeg"}), count=6),
        Modality.AUDIO: _AUDIO,
        Modality.VIDEO: MediaLimit(frozenset({"video/mp4", "video/quicktime"}), seconds=120),
        Modality.DOCUMENT: _PDF,
    }
)
_VERTEX_LIMITS: Mapping[Modality, MediaLimit] = MappingProxyType(
    {
        **_GEMINI_API_LIMITS,
        Modality.IMAGE: MediaLimit(
            frozenset(
                {
                    "image/png",
                    "image/jpeg",
                    "image/webp",
                    "image/bmp",
                    "image/heic",
                    "image/heif",
                    "image/avif",
                }
            ),
            count=6,
        ),
    }
)
_GEMINI_2 = ModelSpec(
    id="gemini-embedding-2",
    space="gemini-embedding-2",
    max_input_tokens=8192,
    tiers=(768, 1536, 3072),
    min_dimensions=128,
    task_in_prompt=True,
    unit_vectors=True,
    dollars_per_million=MappingProxyType(
        {
            Modality.TEXT: 0.20,
            Modality.IMAGE: 0.45,
            Modality.DOCUMENT: 0.45,
            Modality.AUDIO: 6.50,
            Modality.VIDEO: 12.00,
        }
    ),
    limits=MappingProxyType(
        {Backend.GEMINI_API: _GEMINI_API_LIMITS, Backend.VERTEX: _VERTEX_LIMITS}
    ),
)
_GEMINI_2_PREVIEW = ModelSpec(
    id="gemini-embedding-2-preview",
    space=_GEMINI_2.space,
    max_input_tokens=_GEMINI_2.max_input_tokens,
    tiers=_GEMINI_2.tiers,
    min_dimensions=_GEMINI_2.min_dimensions,
    task_in_prompt=True,
    unit_vectors=True,
    dollars_per_million=_GEMINI_2.dollars_per_million,
    limits=_GEMINI_2.limits,
    shut_down="2026-08-10",
)
_GEMINI_001 = ModelSpec(
    id="gemini-embedding-001",
    space="gemini-embedding-001",
    max_input_tokens=2048,
    tiers=(768, 1536, 3072),
    min_dimensions=128,
    task_in_prompt=False,
    unit_vectors=False,
    dollars_per_million=MappingProxyType({Modality.TEXT: 0.15}),
    limits=MappingProxyType({Backend.GEMINI_API: {}, Backend.VERTEX: {}}),
)

MODELS: Mapping[str, ModelSpec] = MappingProxyType(
    {spec.id: spec for spec in (_GEMINI_2, _GEMINI_2_PREVIEW, _GEMINI_001)}
)


def model_spec(model: str, *, stacklevel: int = 2) -> ModelSpec:
    """Look a model up by name, with or without the ``models/`` in front.

    Raises:
        ConfigurationError: The name isn't in the table.

    Warns:
        DeprecationWarning: The model has been shut down or has a successor.
    """
    spec = MODELS.get(model.removeprefix("models/"))
    if spec is None:
        raise ConfigurationError(
            f"unknown model {model!r}: use one of {', '.join(map(repr, MODELS))}"
        )
    if spec.shut_down:
        warnings.warn(
            f"{spec.id} was announced to end on {spec.shut_down}: use {DEFAULT_MODEL!r}, "
            "whose vectors it shares",
            DeprecationWarning,
            stacklevel=stacklevel + 1,
        )
    return spec


def check_dimensions(spec: ModelSpec, dimensions: int, *, stacklevel: int = 2) -> int:
    """Return ``dimensions`` if the model can give vectors of that size.

    Raises:
        ConfigurationError: Below the model's smallest or above its full size.

    Warns:
        UserWarning: Not one of the sizes the model was trained for.
    """
    if not spec.min_dimensions <= dimensions <= spec.full_dimensions:
        raise ConfigurationError(
            f"dimensions={dimensions} is out of range: {spec.id} gives "
            f"{spec.min_dimensions} to {spec.full_dimensions}; use one of "
            f"{', '.join(map(str, spec.tiers))}"
        )
    if dimensions not in spec.tiers:
        warnings.warn(
            f"{spec.id} was trained for {', '.join(map(str, spec.tiers))} dimensions; "
            f"{dimensions} lies between them and has no quality of its own",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    return dimensions
