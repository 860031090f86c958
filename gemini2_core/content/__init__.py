"""What can be embedded: texts and media references in order, their limits, their Markdown form."""

from gemini2_core.content.content import Content, ContentLike
from gemini2_core.content.fragments import Fragment, parse_fragment
from gemini2_core.content.limits import check_limits
from gemini2_core.content.markdown import MediaLink, find_media_links, render_link
from gemini2_core.content.measure import Measure
from gemini2_core.content.media import Media
from gemini2_core.content.paths import link_to, resolve_path
from gemini2_core.content.windows import split_text

__all__ = [
    "Content",
    "ContentLike",
    "Fragment",
    "Measure",
    "Media",
    "MediaLink",
    "check_limits",
    "find_media_links",
    "link_to",
    "parse_fragment",
    "render_link",
    "resolve_path",
    "split_text",
]
