"""What a content may hold, checked before anything is sent; the numbers are the model's own."""

from __future__ import annotations

from gemini2_core.content.content import Content
from gemini2_core.content.media import Media, is_files_api
from gemini2_core.errors import InvalidInputError, LimitError, MediaAccessError
from gemini2_core.model import DEFAULT_MODEL, Backend, MediaLimit, Modality, ModelSpec

__all__ = ["check_limits"]

_SERVICES = {Backend.GEMINI_API: "the Gemini API", Backend.VERTEX: "Vertex"}
_PLURALS = {
    Modality.IMAGE: "images",
    Modality.AUDIO: "sounds",
    Modality.VIDEO: "films",
    Modality.DOCUMENT: "PDF files",
}
_NAMES = {
    "application/pdf": "PDF",
    "audio/mpeg": "MP3",
    "audio/wav": "WAV",
    "image/svg+xml": "SVG",
    "video/mp4": "MP4",
    "video/quicktime": "MOV",
}
#: Headers round: a sound of 180.02 s was meant as one of 180.
_SLACK_SECONDS = 0.1


def check_limits(content: Content, spec: ModelSpec, backend: Backend, *, index: int) -> None:
    """Check a content against what a model reads on a service; opens files to measure them.

    Tokens aren't counted here. What the service reads itself (Files API, ``gs:``) has no measure
    and is checked by type and number only.

    Args:
        content: The content.
        spec: The model.
        backend: The service.
        index: Position of the content in the caller's list, for the error.

    Raises:
        LimitError: Too many media, pages or seconds, or a type that the service doesn't read. The
            message names the input, the medium, the limit and what to do.
        InvalidInputError: A reference that the service can't read, or a damaged file.
        MediaAccessError: An ``https:`` reference that isn't allowed to be fetched.
        MediaNotFoundError: A file is gone.
    """
    try:
        media = content.media
        if media and not spec.multimodal:
            raise LimitError(
                f"{media[0].name} can't be embedded: {spec.id} reads text only; "
                f"use {DEFAULT_MODEL!r}"
            )
        counts: dict[Modality, int] = {}
        for medium in media:
            _check_reference(medium, backend)
            limit = spec.limits[backend].get(medium.modality)
            if limit is None:
                raise LimitError(
                    f"{medium.name} can't be embedded: {spec.id} reads no {medium.mime_type}"
                )
            _check_medium(medium, limit, spec, backend)
            counts[medium.modality] = counts.get(medium.modality, 0) + 1
            if limit.count is not None and counts[medium.modality] > limit.count:
                total = sum(one.modality is medium.modality for one in media)
                what = _PLURALS[medium.modality]
                raise LimitError(
                    f"{total} {what} are in one content, {spec.id} takes {limit.count}; the first "
                    f"too many is {medium.name}: split the content, or embed its parts apart "
                    "with aggregate='mean'"
                )
    except InvalidInputError as error:
        raise error.at(index)  # noqa: B904 - the same error, with its place


def _check_reference(medium: Media, backend: Backend) -> None:
    """Whether the service can read what isn't here."""
    if not isinstance(medium.source, str):
        return
    if not medium.by_service:
        if medium.allow_remote:
            raise InvalidInputError(
                f"{medium.name} has not been fetched yet: call Content.fetched() first"
            )
        raise MediaAccessError(
            f"{medium.name}: {_SERVICES[backend]} reads no web addresses; pass allow_remote=True "
            "to have it fetched here, or download it and pass its path"
        )
    if backend is Backend.VERTEX and is_files_api(medium.source):
        raise InvalidInputError(
            f"{medium.name} is a file of the Gemini API's Files API, which Vertex can't read: "
            "pass its path, or a gs:// reference"
        )
    if backend is Backend.GEMINI_API and not is_files_api(medium.source):
        raise InvalidInputError(
            f"{medium.name}: only Vertex reads gs:// references; pass a path, or upload it with "
            "the Files API and pass its URI"
        )


def _check_medium(medium: Media, limit: MediaLimit, spec: ModelSpec, backend: Backend) -> None:
    if medium.mime_type not in limit.mime_types:
        known = ", ".join(sorted(_short(name) for name in limit.mime_types))
        raise LimitError(
            f"{medium.name} is {_short(medium.mime_type)}, which {_SERVICES[backend]} doesn't "
            f"read: convert it to {known.replace(', ', ' or ') if len(known) < 12 else known}"
        )
    if limit.pages is None and limit.seconds is None:
        return
    measure = medium.measure()
    if (
        medium.fragment is not None
        and medium.modality is Modality.VIDEO
        and limit.seconds is not None
        and limit.seconds / 2 < (measure.seconds or 0) <= limit.seconds + _SLACK_SECONDS
    ):
        # A cut begins at the key frame before the span, so it may be longer: cut it and see.
        measure = Media.from_bytes(medium.read(), medium.mime_type).measure()
    if limit.pages is not None and measure.pages is not None and measure.pages > limit.pages:
        raise LimitError(
            f"{_with_fragment(medium)} has {measure.pages} pages, {spec.id} reads {limit.pages} of "
            f"one content: embed its pages apart (page=1, page=2, … as the fragment)"
        )
    if (
        limit.seconds is not None
        and measure.seconds is not None
        and measure.seconds > limit.seconds + _SLACK_SECONDS
    ):
        raise LimitError(
            f"{_with_fragment(medium)} is {measure.seconds:.1f} s long, {spec.id} takes "
            f"{limit.seconds:.0f} s: cut it into spans (t=0,{limit.seconds:.0f} and so on as the "
            "fragment)"
        )


def _with_fragment(medium: Media) -> str:
    return f"{medium.name}#{medium.fragment}" if medium.fragment else medium.name


def _short(mime_type: str) -> str:
    return _NAMES.get(mime_type) or mime_type.partition("/")[2].upper()
