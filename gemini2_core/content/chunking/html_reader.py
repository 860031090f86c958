"""From an HTML page to a document: its text, tables and media in reading order."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from gemini2_core.content.chunking.document import (
    JSON,
    Document,
)
from gemini2_core.content.chunking.html_page import Page
from gemini2_core.content.chunking.media_dir import MediaDir
from gemini2_core.content.chunking.policy import MediaPolicy, OnMissing
from gemini2_core.errors import InvalidInputError, MissingExtraError

if TYPE_CHECKING:
    from lxml import etree

__all__ = ["read_html"]

#: What the parser is handed at once where lines are longer.
_PIECE = 65_536
_META_CHARSET = re.compile(
    rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE
)


def read_html(
    html: str | bytes,
    *,
    source: str = "",
    media_root: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    media_dir: MediaDir | str | os.PathLike[str] | None = None,
    on_missing: OnMissing = "error",
    allow_remote: bool = False,
    mime_types: Collection[str] | None = None,
    title: str | None = None,
    metadata: Mapping[str, JSON] | None = None,
) -> Iterator[Document]:
    """Read a page; one document comes out.

    Its text is Markdown: headings, lists, tables, code and paragraphs, without emphasis and
    without the addresses of links, which say nothing to an embedding. Scripts, styles, navigation
    and form controls are left out, and so are pictures of one pixel, posters of films and
    drawings within the page (``<svg>``, of which title and description are kept). Of a
    ``<picture>`` the ``<img>`` counts, or where it has no ``src`` the largest candidate of a type
    that is taken. A figure stays with its caption. A table with headings, lists or tables in it
    is layout, and its cells are read one after the other.

    Args:
        html: The page. Bytes are decoded by byte order mark, ``<meta charset>``, UTF-8 or
            Windows-1252, whichever is first to fit.
        source: Name for ids and errors.
        media_root: As ``MediaPolicy``, like the next five.
        base: Folder that the page lies in.
        media_dir: Where data URIs are written.
        on_missing: What becomes of media that can't be read.
        allow_remote: Whether media on the web are taken.
        mime_types: Types that are taken.
        title: Title of the document; None is the page's ``<title>``.
        metadata: What goes with every chunk.

    Raises:
        InvalidInputError: A lone surrogate in the page; a medium that can't be read, with source
            and line.
        ConfigurationError: As ``MediaPolicy``.
        MissingExtraError: lxml isn't installed.
    """
    try:
        from lxml import etree
    except ImportError:
        raise MissingExtraError("reading HTML", extra="documents", package="lxml") from None
    policy = MediaPolicy(
        source=source,
        media_root=media_root,
        base=base,
        media_dir=media_dir,
        on_missing=on_missing,
        allow_remote=allow_remote,
        mime_types=mime_types,
    )
    page = Page(policy)
    # Events, not a tree: linear in time and flat in memory whatever the nesting is, where trees
    # cut off what is nested too deep (libxml2) or need minutes for it (lexbor).
    parser = etree.HTMLParser(
        target=page,  # type: ignore[arg-type]  # its texts are str
        encoding="utf-8",
        huge_tree=True,
        no_network=True,
        remove_pis=True,
    )
    _feed(parser, page, _utf8(html, source))
    yield page.document(title, metadata)


def _feed(parser: etree.HTMLParser, page: Page, data: bytes) -> None:
    """Hand the page over line by line, so that errors can name the line."""
    from lxml import etree

    position = 0
    while position < len(data):
        end = data.find(b"\n", position, position + _PIECE) + 1 or position + _PIECE
        parser.feed(data[position:end])
        page.line += data[end - 1 : end] == b"\n"
        position = end
    try:
        parser.close()
    except etree.XMLSyntaxError as error:
        # An empty page is an error to lxml.
        if not page.started:
            return
        raise InvalidInputError(f"{page.policy.source} can't be read as HTML: {error}") from None


def _utf8(html: str | bytes, source: str) -> bytes:
    """The page as UTF-8."""
    if isinstance(html, bytes):
        html = _decoded(html)
    try:
        data = html.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{source or 'the page'} has a lone surrogate at character {error.start}, which is no "
            "Unicode text: read it with the right encoding"
        ) from None
    return data.replace(b"\0", b"")


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    declared = _META_CHARSET.search(data[:4096])
    names = [declared[1].decode("ascii")] if declared else []
    for name in [*names, "utf-8-sig"]:
        try:
            return data.decode("utf-8-sig" if name.lower() in ("utf-8", "utf8") else name)
        except (LookupError, ValueError):
            continue
    return data.decode("cp1252", "replace")
