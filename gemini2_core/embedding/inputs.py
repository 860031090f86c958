"""Reading what a caller wants embedded: contents, web media fetched, errors that say where."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from gemini2_core.content import Content, ContentLike
from gemini2_core.errors import Gemini2Error, InvalidInputError

__all__ = ["read_inputs"]

_FETCHED_AT_ONCE = 8
#: A text that is a file's name and nothing else was hardly meant as text.
_FILE_NAME = re.compile(r"^\S{1,500}\.(?:png|jpe?g|webp|heic|pdf|mp3|wav|mp4|mov)$", re.IGNORECASE)


def read_inputs(
    inputs: Sequence[ContentLike],
    titles: Sequence[str | None] | None,
    *,
    media_root: Path | None,
    allow_remote: bool,
) -> list[Content]:
    """One content an input, in order.

    Args:
        inputs: What ``Content.of`` takes, each.
        titles: One an input, or None.
        media_root: Where the links of Markdown texts are read from; None leaves texts as they are.
        allow_remote: Fetch ``https:`` media, several at once.

    Raises:
        InvalidInputError: No list, not as many titles, or an input that can't be embedded.
    """
    if isinstance(inputs, (str, bytes, Path)):
        raise InvalidInputError(
            f"a list of inputs is wanted, not one {type(inputs).__name__}: put it in [ ]"
        )
    if titles is not None and len(titles) != len(inputs):
        raise InvalidInputError(f"{len(titles)} titles for {len(inputs)} inputs")
    contents: list[Content] = []
    for index, value in enumerate(inputs):
        title = titles[index] if titles is not None else None
        with _named(index):
            if title is not None and not isinstance(title, str):
                raise InvalidInputError(f"a title is a str, not {type(title).__name__}")
            contents.append(
                Content.of(value, media_root=media_root, title=title, allow_remote=allow_remote)
            )
        if type(value) is str and _FILE_NAME.search(value) and _is_file(value):
            warnings.warn(
                f"input {index}: {value!r} is embedded as text; to embed the file of that "
                "name, pass a pathlib.Path",
                UserWarning,
                stacklevel=5,
            )
    return _fetched(contents) if allow_remote else contents


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # longer than a name may be, or in a folder that mustn't be read
        return False


@contextmanager
def _named(index: int) -> Iterator[None]:
    """Errors from within say which input they are about."""
    try:
        yield
    except Gemini2Error as error:
        error.at(index)
        raise


def _fetched(contents: list[Content]) -> list[Content]:
    """The contents with the bytes of their ``https:`` media."""

    def fetch(index: int) -> Content:
        with _named(index):
            return contents[index].fetched()

    away = [i for i, content in enumerate(contents) if any(m.remote for m in content.media)]
    if away:
        with ThreadPoolExecutor(_FETCHED_AT_ONCE) as threads:
            for index, content in zip(away, threads.map(fetch, away), strict=True):
                contents[index] = content
    return contents
