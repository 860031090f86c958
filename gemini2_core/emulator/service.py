"""The model's stand-in: items in, encoded vectors and token counts out."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gemini2_core.emulator.encoding import Encoded, EncodedCache, encode
from gemini2_core.emulator.files import FileStore
from gemini2_core.emulator.media import MediaReader, Medium
from gemini2_core.emulator.reading import Inline, Item, Link, Part
from gemini2_core.emulator.refusals import Refusal, invalid
from gemini2_core.emulator.rules import check_content, check_item, cut, tokens_of
from gemini2_core.emulator.settings import Settings
from gemini2_core.emulator.vectors import Row, direction, fuse, prefix, text_vector
from gemini2_core.model import MODELS, Backend, Modality, ModelSpec

__all__ = ["Embedded", "Numbers", "Read", "Service", "find_model"]

Numbers = npt.NDArray[np.float32]

_POOL = 64
_TASK = 0.25
_TITLE = 0.35


@dataclass(frozen=True, slots=True)
class Embedded:
    """One item, embedded: its encoded vector, its tokens by modality, and whether it was cut."""

    vector: Encoded
    tokens: Mapping[Modality, int]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """A content with its media read: what its vector is made of."""

    parts: tuple[str | Medium, ...]
    tokens: Mapping[Modality, int]
    truncated: bool


def find_model(name: str) -> ModelSpec | None:
    """A row of the table of models by ``models/…`` or bare name, without its warnings."""
    return MODELS.get(name.removeprefix("models/"))


@dataclass(slots=True)
class Service:
    """Embeds and counts, with caches in front."""

    settings: Settings
    files: FileStore
    _media: MediaReader = field(default_factory=MediaReader)
    _texts: OrderedDict[tuple[str, str], Read] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _encoded: EncodedCache = field(init=False)

    def __post_init__(self) -> None:
        self._encoded = EncodedCache(self.settings.cache_bytes)

    def read(self, item: Item, spec: ModelSpec, backend: Backend) -> Read:
        """Check an item against the rules and read its media.

        Raises:
            Refusal: As the service answers.
        """
        check_item(item, spec)
        only = item.parts[0] if len(item.parts) == 1 else None
        if isinstance(only, str):
            return self._text(only, spec)
        parts = self.parts(item.parts, backend)
        check_content(parts, spec, backend)
        kept, tokens, truncated = cut(parts, spec.max_input_tokens)
        return Read(tuple(kept), tokens, truncated)

    def _text(self, text: str, spec: ModelSpec) -> Read:
        key = (spec.id, text)
        with self._lock:
            if (known := self._texts.get(key)) is not None:
                self._texts.move_to_end(key)
                return known
        kept, tokens, truncated = cut([text], spec.max_input_tokens)
        read = Read(tuple(kept), tokens, truncated)
        with self._lock:
            self._texts[key] = read
            if len(self._texts) > 50_000:
                self._texts.popitem(last=False)
        return read

    def parts(self, parts: tuple[Part, ...], backend: Backend) -> list[str | Medium]:
        """Parts with their media read."""
        return [part if isinstance(part, str) else self._medium(part, backend) for part in parts]

    def _medium(self, part: Inline | Link, backend: Backend) -> Medium:
        if isinstance(part, Inline):
            return self._media.read(part.data, part.mime_type)
        if "files/" in part.uri and not part.uri.startswith("gs://"):
            file = self.files.get(part.uri, self.settings)
            return self._media.read(file.data, part.mime_type or file.mime_type)
        if backend is Backend.VERTEX and part.uri.startswith("gs://"):
            return self._media.far(part.uri, part.mime_type)
        raise invalid(
            f"Unsupported file URI type: {part.uri}. File URI must be a File API "
            "(eg. https://generativelanguage.googleapis.com/v1beta/files/<id>)."
        )

    def embed(self, item: Item, read: Read, spec: ModelSpec, *, pretty: bool) -> Embedded:
        """The encoded vector of a read item."""
        size = item.dimensions or spec.full_dimensions
        # 2 ignores both fields, so they're no part of its key.
        task = () if spec.task_in_prompt else (item.task_type, item.title)
        identity: Hashable = tuple(
            part if isinstance(part, str) else (part.digest, part.mime_type) for part in read.parts
        )
        if self.settings.vectors == "pool":
            digest = hashlib.blake2b(repr(identity).encode("utf-8", "replace")).digest()
            identity = digest[0] % _POOL
        key = (spec.space, size, pretty, task, identity)
        found = self._encoded.get(key)
        if found is None:
            if isinstance(identity, int):
                row = direction(f"pool:{identity}", spec.space)
            else:
                row = self._row(read, item, spec)
            found = encode(prefix(row, size, unit=spec.unit_vectors), pretty=pretty)
            if self.settings.gzip:
                found.deflate(self.settings.gzip_level)
            self._encoded.put(key, found)
        return Embedded(found, read.tokens, read.truncated)

    def _row(self, read: Read, item: Item, spec: ModelSpec) -> Row:
        space = spec.space
        rows, names = [], []
        for part in read.parts:
            if isinstance(part, str):
                rows.append(text_vector(part, space))
                names.append(part)
            else:
                rows.append(part.vector(space))
                names.append(part.digest)
        row = fuse(rows, names, space)
        if not spec.task_in_prompt and item.task_type:
            row = row + _TASK * direction(f"task:{item.task_type}", space)
            if item.title and item.task_type == "RETRIEVAL_DOCUMENT":
                row = row + _TITLE * text_vector(item.title, space)
            row = row / float(row @ row) ** 0.5
        return row

    def count(self, parts: tuple[Part, ...], backend: Backend) -> Counter[Modality]:
        """Tokens as ``countTokens`` gives them: one more than embedding bills (recorded)."""
        tokens = tokens_of(self.parts(parts, backend))
        tokens[Modality.TEXT] += 1
        return tokens

    def embed_row(self, item: Item, spec: ModelSpec) -> tuple[Numbers, int] | Refusal:
        """An item of a batch job: its vector and tokens, or why it was refused."""
        try:
            read = self.read(item, spec, Backend.GEMINI_API)
        except Refusal as refusal:
            return refusal
        size = item.dimensions or spec.full_dimensions
        row = prefix(self._row(read, item, spec), size, unit=spec.unit_vectors)
        return row, sum(read.tokens.values())
