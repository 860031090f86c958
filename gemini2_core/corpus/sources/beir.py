"""``BeirSource``: a corpus in BEIR's form, a JSON object a line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from gemini2_core.content.lines import count_lines, json_lines
from gemini2_core.corpus.item import Item
from gemini2_core.corpus.sources.paths import Places, paths_name, read_paths
from gemini2_core.corpus.sources.points import document_payload
from gemini2_core.corpus.sources.reading import Broken, CheckedSource, Found, Policy
from gemini2_core.errors import InvalidInputError

__all__ = ["BeirSource"]


class BeirSource(CheckedSource):
    """``corpus.jsonl`` of BEIR: ``{"_id": …, "title": …, "text": …}`` a line, gzipped or not.

    The payload is what LangChain's stores write: ``page_content``, and ``metadata`` with the
    title and what the line has under ``metadata``. A document with nothing but a title has the
    title as its text.

    Args:
        path: The file, or several of one corpus.
        policy: What becomes of an item that can't be embedded.

    Raises:
        InvalidInputError: There is no such file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | list[str | os.PathLike[str]],
        *,
        policy: Policy | None = None,
    ) -> None:
        self._paths = read_paths(path)
        self._places = Places(self._paths, "line")
        super().__init__(paths_name(self._paths), policy)

    def _where(self, place: int) -> str:
        return self._places.where(place)

    def _counted(self) -> int | None:
        counts = [count_lines(path) for path in self._paths]
        return None if None in counts else sum(count for count in counts if count is not None)

    def _found(self) -> Iterator[Found | Broken]:
        for index, path in enumerate(self._paths):
            for number, line in json_lines(path):
                place = self._places.of(index, number)
                try:
                    if isinstance(line, str):
                        raise InvalidInputError(line)
                    yield Found(place, _item(line))
                except InvalidInputError as error:
                    yield Broken(place, str(error))


def _item(line: Mapping[str, object]) -> Item:
    own = line.get("_id")
    if not isinstance(own, str | int) or isinstance(own, bool):
        raise InvalidInputError(f"'_id' is a string or an integer, not {own!r:.80}")
    text, title = _string(line, "text"), _string(line, "title").strip()
    if not text.strip():
        text, title = title, ""
    given = line.get("metadata")
    metadata = dict(given) if isinstance(given, Mapping) else {}
    if title:
        metadata["title"] = title
    else:
        metadata.pop("title", None)  # a title that isn't told mustn't be found there later
    return Item(own, text, title or None, document_payload(text, metadata))


def _string(line: Mapping[str, object], key: str) -> str:
    value = line.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInputError(f"{key!r} is a string, not {value!r:.80}")
    return value
