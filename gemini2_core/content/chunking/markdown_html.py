"""HTML inside Markdown: its pictures, sounds and films, with the text around them, as parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from typing import TypeAlias

__all__ = ["HtmlMedia", "HtmlPart", "has_media", "html_parts"]

#: A longer block of HTML inside Markdown is left as it is.
_MAX_CHARACTERS = 1_000_000

_MEDIA_TAG = re.compile(r"<(?:img|picture|video|audio|embed|object)\b", re.IGNORECASE)
_BREAKS = {
    "address": "\n\n",
    "article": "\n\n",
    "blockquote": "\n\n",
    "br": "\n",
    "center": "\n\n",
    "dd": "\n",
    "details": "\n\n",
    "div": "\n\n",
    "dl": "\n\n",
    "dt": "\n",
    "figcaption": "\n",
    "figure": "\n\n",
    "hr": "\n\n",
    "li": "\n",
    "ol": "\n\n",
    "p": "\n\n",
    "section": "\n\n",
    "summary": "\n\n",
    "table": "\n\n",
    "tr": "\n",
    "ul": "\n\n",
} | {f"h{level}": "\n\n" for level in range(1, 7)}
_SPACE = re.compile(r"[ \t\r\n\f]+")
_SIGNS = re.compile(r"[\\`*_<\[\]]|!(?=\[)|&(?=[#A-Za-z])")
_NOT_SHOWN = ("script", "style", "template")
# A tag's length is bounded, so that a thousand tags that never end take no thousand long looks.
_TAG = re.compile(
    r"<(/?)([A-Za-z][A-Za-z0-9:-]{0,40}+)((?:[^<>\"']{1,2000}+|\"[^\"]{0,8000}+\"|'[^']{0,8000}+'){0,200}+)>"
)
_OTHER = re.compile(r"<[!?][^<>]{0,8000}+>")
_ATTRIBUTE = re.compile(
    r"([A-Za-z_:][A-Za-z0-9_:.-]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'<>]++)))?"
)


@dataclass(frozen=True, slots=True)
class HtmlMedia:
    """A medium that a tag names.

    Attributes:
        target: What its ``src`` says.
        alt: Its ``alt``, ``title`` or ``aria-label``.
        mime_type: The type that its ``<source>`` declares, or None.
        line: Lines before its tag, in the HTML.
    """

    target: str
    alt: str
    mime_type: str | None
    line: int


HtmlPart: TypeAlias = "str | HtmlMedia"


def has_media(html: str) -> bool:
    """True if a tag that names media is in it."""
    return len(html) <= _MAX_CHARACTERS and _MEDIA_TAG.search(html) is not None


def html_parts(html: str) -> list[HtmlPart]:
    """The text of a piece of HTML as Markdown, its media where they stand.

    Headings keep their level, a caption stays on the line under its picture; of ``<picture>`` the
    ``<img>`` counts, of ``<video>`` and ``<audio>`` the ``src`` or the first ``<source>``.
    Scripts, styles and what stands in for media that can't be played are left out.
    """
    parser = _Parser()
    position = counted = line = 0
    comments = True
    while (at := html.find("<", position)) >= 0:
        parser.text(html[position:at])
        line += html.count("\n", counted, at)
        counted = at
        if comments and html.startswith("<!--", at):
            end = html.find("-->", at + 4)
            comments = end >= 0
            position = end + 3 if comments else at + 4
        elif tag := _TAG.match(html, at):
            position = tag.end()
            if tag[1]:
                parser.end(tag[2].lower())
            else:
                parser.start(tag[2].lower(), _attributes(tag[3]), line)
                if tag[3].endswith("/"):
                    parser.end(tag[2].lower(), empty=True)
        elif other := _OTHER.match(html, at):
            position = other.end()
        else:
            parser.text("<")
            position = at + 1
    parser.text(html[position:])
    return parser.parts()


def _attributes(text: str) -> dict[str, str]:
    return {
        match[1].lower(): unescape(match[2] or match[3] or match[4] or "")
        for match in _ATTRIBUTE.finditer(text)
    }


class _Parser:
    """Takes tags and texts in order."""

    def __init__(self) -> None:
        self._parts: list[HtmlPart] = []
        self._player: HtmlMedia | None = None  # an open <video> or <audio>
        self._hidden = 0

    def start(self, tag: str, attributes: dict[str, str], line: int) -> None:
        if tag in _NOT_SHOWN:
            self._hidden += 1
        elif tag == "img":
            self._medium(_source(attributes), attributes, line)
        elif tag == "embed":
            self._medium(attributes.get("src", ""), attributes, line)
        elif tag == "object":
            self._medium(attributes.get("data", ""), attributes, line)
        elif tag in ("video", "audio"):
            self._close_player()
            self._player = HtmlMedia(
                attributes.get("src", "").strip(), _alt(attributes), None, line
            )
        elif tag == "source" and self._player is not None and not self._player.target:
            self._player = HtmlMedia(
                attributes.get("src", "").strip(),
                self._player.alt,
                attributes.get("type", "").partition(";")[0].strip() or None,
                self._player.line,
            )
        elif tag in ("td", "th"):
            self._text(" | ")
        elif tag in _BREAKS:
            self._text(_BREAKS[tag])
            if tag[0] == "h" and tag != "hr":
                self._text("#" * int(tag[1]) + " ")
            elif tag == "li":
                self._text("- ")

    def end(self, tag: str, *, empty: bool = False) -> None:
        if tag in _NOT_SHOWN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in ("video", "audio"):
            self._close_player()
        elif not empty and tag in _BREAKS and tag not in ("br", "li", "hr", "figcaption"):
            self._text(_BREAKS[tag])

    def text(self, data: str) -> None:
        # What stands inside <video> is for browsers that can't play it.
        if data and not self._hidden and self._player is None:
            self._text(_SIGNS.sub(r"\\\g<0>", unescape(_SPACE.sub(" ", data))))

    def parts(self) -> list[HtmlPart]:
        """Neighbouring texts joined, blanks at borders and empty lines reduced."""
        self._close_player()
        joined: list[HtmlPart] = []
        texts: list[str] = []
        for part in [*self._parts, ""]:
            if isinstance(part, str) and part:
                texts.append(part)
                continue
            if texts:
                joined.append(_tidy("".join(texts)))
                texts = []
            if not isinstance(part, str):
                joined.append(part)
        return _stripped(joined)

    def _close_player(self) -> None:
        player, self._player = self._player, None
        if player is not None and player.target:
            self._parts.append(player)

    def _medium(self, target: str, attributes: dict[str, str], line: int) -> None:
        if target.strip() and not self._hidden:
            self._parts.append(
                HtmlMedia(
                    target.strip(),
                    _alt(attributes),
                    attributes.get("type") or None,
                    line,
                )
            )

    def _text(self, text: str) -> None:
        if not self._hidden:
            self._parts.append(text)


def _source(attributes: dict[str, str]) -> str:
    """What an ``<img>`` shows: its ``src``, or the last and so the largest of its ``srcset``."""
    if attributes.get("src"):
        return attributes["src"]
    candidates = attributes.get("srcset", "").split(", ")
    return candidates[-1].split(" ")[0] if candidates[-1] else attributes.get("data-src", "")


def _alt(attributes: dict[str, str]) -> str:
    for name in ("alt", "title", "aria-label"):
        if text := " ".join(attributes.get(name, "").split()):
            return text
    return ""


def _tidy(text: str) -> str:
    lines = [" ".join(line.split(" ")).strip() for line in text.split("\n")]
    edged = "\n".join(lines)
    leading = " " if text.startswith(" ") and lines[0] else ""
    trailing = " " if text.endswith(" ") and lines[-1] else ""
    return leading + re.sub(r"\n{3,}", "\n\n", edged) + trailing


def _stripped(parts: list[HtmlPart]) -> list[HtmlPart]:
    if parts and isinstance(parts[0], str):
        parts[0] = parts[0].lstrip()
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip()
    return [part for part in parts if part]
