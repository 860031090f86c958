"""Limits: each is one clear error that names input, medium, limit and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemini2_core.content import Content, Media, check_limits
from gemini2_core.errors import (
    Gemini2Error,
    InvalidInputError,
    LimitError,
    MediaAccessError,
    MediaNotFoundError,
)
from gemini2_core.model import Backend, model_spec
from tests.content import samples

GEMINI, VERTEX = Backend.GEMINI_API, Backend.VERTEX
SPEC = model_spec("gemini-embedding-2")
FILES_URI = "https://generativelanguage.googleapis.com/v1beta/files/abc"


def _check(value: object, backend: Backend = GEMINI, model: str = SPEC.id) -> None:
    check_limits(Content.of(value), model_spec(model), backend, index=4)


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize(
    "value",
    [
        "text",
        [samples.picture()] * 6,
        samples.picture("JPEG"),
        samples.pdf(6),
        Media.from_bytes(samples.pdf(9), fragment="page=3-8"),
        samples.wav(180.0),
        Media.from_bytes(samples.wav(200.0), fragment="t=10,190"),
        samples.mp3(),
        samples.film(),
        samples.film("mov"),
        ["a", samples.picture(), samples.pdf(1), samples.wav(), samples.film()],
    ],
)
def test_what_the_model_reads_passes(value: object, backend: Backend) -> None:
    _check(value, backend)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([samples.picture()] * 7, r"7 images are in one content, .* takes 6; .*split the content"),
        (samples.pdf(7), r"has 7 pages, .* reads 6 .*page=1"),
        ([samples.pdf(1), samples.pdf(1)], r"2 PDF files .* takes 1"),
        (samples.wav(181.0), r"181\.0 s long, .* takes 180 s: cut it"),
        (Media.from_bytes(samples.wav(200.0), fragment="t=10,195"), r"#t=10,195 is 185\.0 s"),
        (samples.film(seconds=121), r"121\.0 s long, .* takes 120 s"),
        (samples.picture("WEBP"), r"WEBP, which the Gemini API doesn't read: convert it to JPEG"),
        (samples.picture("GIF"), "GIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)
def test_what_is_beyond_a_limit_is_told(value: object, message: str) -> None:
    with pytest.raises(LimitError, match=f"^input 4: .*{message}") as caught:
        _check(value)
    assert caught.value.index == 4


def test_vertex_reads_more_kinds_of_picture() -> None:
    _check(samples.picture("WEBP"), VERTEX)
    _check(samples.picture("BMP"), VERTEX)
    with pytest.raises(LimitError, match="Vertex doesn't read: convert it to AVIF, BMP"):
        _check(samples.picture("GIF"), VERTEX)


def test_a_model_of_text_reads_no_picture() -> None:
    _check("text", model="gemini-embedding-001")
    with pytest.raises(LimitError, match="001 reads text only; use 'gemini-embedding-2'"):
        _check(samples.picture(), model="gemini-embedding-001")


@pytest.mark.parametrize(
    ("uri", "backend", "error", "message"),
    [
        (FILES_URI, GEMINI, None, ""),
        ("files/abc", GEMINI, None, ""),
        ("http://127.0.0.1:8080/v1beta/files/abc", GEMINI, None, ""),
        ("gs://bucket/x.png", VERTEX, None, ""),
        ("gs://bucket/x.png", GEMINI, InvalidInputError, "only Vertex reads gs://"),
        (FILES_URI, VERTEX, InvalidInputError, "which Vertex can't read"),
        ("https://example.org/x.png", GEMINI, MediaAccessError, "allow_remote=True"),
        ("https://example.org/x.png", VERTEX, MediaAccessError, "allow_remote=True"),
    ],
)
def test_each_service_reads_its_own_references(
    uri: str, backend: Backend, error: type[Gemini2Error] | None, message: str
) -> None:
    media = Media.from_uri(uri, "image/png")
    if error is None:
        _check(media, backend)
        return
    with pytest.raises(error, match=f"^input 4: .*{message}"):
        _check(media, backend)


def test_what_is_allowed_to_be_fetched_is_fetched_first() -> None:
    with pytest.raises(InvalidInputError, match="not been fetched"):
        _check(Media.from_uri("https://example.org/x.png", allow_remote=True))


def test_a_reference_of_unknown_type_needs_one() -> None:
    with pytest.raises(InvalidInputError, match="give its mime_type"):
        _check(Media.from_uri("files/abc"))


def test_the_error_names_the_medium(tmp_path: Path) -> None:
    path = tmp_path / "manual.pdf"
    path.write_bytes(samples.pdf(7))
    media = Media.from_path(path, alt="The manual")
    with pytest.raises(LimitError, match=r"^input 4: 'The manual' \(.*/manual\.pdf\) has 7 pages"):
        _check(media)
    path.unlink()
    with pytest.raises(MediaNotFoundError, match=r"^input 4: .*manual\.pdf"):
        _check(media)


def test_a_film_cut_is_measured_from_the_key_frame_it_begins_with(tmp_path: Path) -> None:
    import av
    import numpy as np

    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=2)
        stream.width = stream.height = 32
        stream.gop_size = 80  # a key frame every 40 s
        for number in range(2 * 170):
            picture = np.full((32, 32, 3), number % 255, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())

    def check(fragment: str) -> None:
        content = Content((Media.from_path(path, fragment=fragment),))
        check_limits(content, model_spec("gemini-embedding-2"), Backend.GEMINI_API, index=0)

    check("t=0,119")
    with pytest.raises(LimitError, match=r"14\d\.\d s long.*takes 120 s"):
        check("t=30,148")  # 118 s are asked for, and 148 s would be sent
