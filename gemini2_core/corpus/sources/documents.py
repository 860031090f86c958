"""``DocumentsSource``: LangChain's documents, or anything else that has their three fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Protocol, TypeAlias

import orjson

from gemini2_core.corpus.item import Item
from gemini2_core.corpus.sources.points import document_payload
from gemini2_core.corpus.sources.reading import (
    Broken,
    CheckedSource,
    Found,
    Policy,
    derived_id,
)
from gemini2_core.errors import ConfigurationError, InvalidInputError

__all__ = ["DocumentLike", "DocumentsSource", "again"]


class DocumentLike(Protocol):
    """What a LangChain ``Document`` has."""

    page_content: str
    metadata: dict[Any, Any]

    @property
    def id(self) -> str | None:
        """Its id, if it has one."""


_Documents: TypeAlias = "Iterable[DocumentLike] | Callable[[], Iterable[DocumentLike]]"


class DocumentsSource(CheckedSource):
    """LangChain documents; the payload is what ``MatryoshkaVectorStore`` writes for them.

    A document without an id gets one made of its text and metadata: equal documents are one item.

    Args:
        documents: A list, or a function that gives them anew each time (a loader's
            ``lazy_load``), for more than memory holds.
        name: What messages and checkpoints call it.
        title_key: The field of the metadata that is told to the model as title; None for none.
        policy: What becomes of an item that can't be embedded.

    Raises:
        ConfigurationError: An iterator, which could be read only once.
    """

    def __init__(
        self,
        documents: _Documents,
        *,
        name: str = "documents",
        title_key: str | None = "title",
        policy: Policy | None = None,
    ) -> None:
        self._documents = documents
        self._title_key = title_key
        again(documents, name)  # refused now, not when the run has begun
        super().__init__(name, policy)

    def _where(self, place: int) -> str:
        return f"{self._name}, document {place}"

    def _counted(self) -> int | None:
        given: object = self._documents
        return len(given) if isinstance(given, Sized) else None

    def _found(self) -> Iterator[Found | Broken]:
        for number, document in enumerate(again(self._documents, self._name)):
            try:
                yield Found(number, self._item(document), derived=not document.id)
            except InvalidInputError as error:
                yield Broken(number, str(error))

    def _item(self, document: DocumentLike) -> Item:
        try:
            text, metadata = document.page_content, document.metadata
        except AttributeError:
            raise InvalidInputError(
                f"a document has page_content and metadata, which {type(document).__name__} hasn't"
            ) from None
        try:
            told = orjson.dumps(
                metadata, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS
            ).decode()
        except TypeError as error:
            raise InvalidInputError(f"the metadata isn't JSON: {error}") from error
        own = document.id or derived_id(text, told)
        return Item(own, text, _title(metadata, self._title_key), document_payload(text, metadata))


def again(given: Any, name: str) -> Iterable[Any]:
    """What was given, from its beginning.

    Raises:
        ConfigurationError: An iterator, which has only one; a str.
    """
    if callable(given):
        return given()  # type: ignore[no-any-return]  # the caller's own things
    if isinstance(given, str):
        raise ConfigurationError(f"{name} are wanted, not a str: open_source reads paths")
    if isinstance(given, Iterator) or not isinstance(given, Iterable):
        raise ConfigurationError(
            f"{name} can be read only once: pass a list, or a function that gives them anew"
        )
    return given


def _title(metadata: Mapping[Any, Any], key: str | None) -> str | None:
    title = metadata.get(key) if key else None
    return title if isinstance(title, str) and title.strip() else None
