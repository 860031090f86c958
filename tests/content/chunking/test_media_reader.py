"""Media as documents: whole within the limits, by reference beyond them."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemini2_core.content.chunking.document import Document
from gemini2_core.content.chunking.media_reader import read_media, sound_windows
from gemini2_core.content.markdown import find_media_links
from gemini2_core.content.media import Media
from gemini2_core.errors import (
    ConfigurationError,
    InvalidInputError,
    LimitError,
    MediaNotFoundError,
)
from tests.content.samples import mp3, pdf, picture, wav


def read(medium: Path | bytes, root: Path, **more: object) -> list[Document]:
    documents = list(
        read_media(
            medium,
            source="medium",
            media_root=root,
            media_dir=root / "embedded",
            **more,  # type: ignore[arg-type]
        )
    )
    for document in documents:
        found = [(link.start, link.end) for link in find_media_links(document.text)]
        assert found == [(link.start, link.end) for link in document.links]
    return documents


def film(path: Path, seconds: int, gap: int, *, b_frames: int = 0) -> Path:
    """A film of 4 frames a second, each of another grey, with a key frame every ``gap`` seconds."""
    options = {"preset": "ultrafast", "g": str(4 * gap), "keyint_min": str(4 * gap)}
    options |= {"sc_threshold": "0", "bf": str(b_frames), "crf": "40", "threads": "1"}
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=4, options=options)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        noise = np.random.default_rng(1)
        for number in range(seconds * 4):
            pixels = noise.integers(0, 255, (32, 32, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def spans(documents: list[Document]) -> list[tuple[float, float]]:
    return [e.seconds for d in documents for e in d.elements if e.seconds is not None]


def frames(media: Media) -> list[bytes]:
    with av.open(io.BytesIO(media.read()), "r") as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


def test_a_picture_is_one_element(tmp_path: Path) -> None:
    path = tmp_path / "pump.png"
    path.write_bytes(picture())
    (document,) = read(path, tmp_path)
    assert document.text == "![](pump.png)\n\n"


def test_media_within_the_limits_stay_whole(tmp_path: Path) -> None:
    for name, data in (("a.wav", wav(170)), ("b.mp3", mp3(3)), ("c.pdf", pdf(6))):
        (tmp_path / name).write_bytes(data)
        (document,) = read(tmp_path / name, tmp_path)
        assert document.text == f"![]({name})\n\n"


def test_bytes_are_written_to_the_media_dir(tmp_path: Path) -> None:
    (document,) = read(wav(200), tmp_path)
    assert len(list((tmp_path / "embedded").iterdir())) == 1
    assert len(document.media) == 4


def test_a_long_sound_is_cut_by_reference(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(400))
    documents = read(path, tmp_path)
    assert spans(documents) == [(60.0 * n, min(60.0 * n + 60, 400.0)) for n in range(7)]
    (document,) = read(path, tmp_path, window=180, overlap=30)
    assert spans([document]) == [(0.0, 180.0), (150.0, 330.0), (300.0, 400.0)]
    assert "talk.wav#t=150,330" in document.text
    assert sum(m.measure().seconds or 0 for m in documents[0].media) == pytest.approx(400)


def test_a_long_film_is_cut_on_key_frames_and_loses_no_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 130, 5)
    (document,) = read(path, tmp_path)
    assert spans([document]) == [(0, 30), (30, 60), (60, 90), (90, 120), (120, 130)]
    kept = [frame for media in document.media for frame in frames(media)]
    assert kept == frames(Media.from_path(path))


def test_windows_of_a_film_with_frames_out_of_order(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 40, 3, b_frames=2)
    (document,) = read(path, tmp_path, window=10)
    borders = spans([document])
    assert borders[0][0] == 0
    assert all(a[1] == b[0] for a, b in itertools.pairwise(borders))
    assert all(end - start <= 10.1 for start, end in borders)
    assert sum(len(frames(media)) for media in document.media) >= 160


def test_windows_of_a_film_may_overlap(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 130, 5)
    (document,) = read(path, tmp_path, window=60, overlap=8)
    assert spans([document]) == [(0, 60), (50, 110), (100, 130)]


def test_far_key_frames_make_longer_windows_or_an_error(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 140, 50)
    (document,) = read(path, tmp_path)
    assert spans([document]) == [(0, 50), (50, 100), (100, 140)]
    rare = film(tmp_path / "rare.mp4", 140, 140)
    with pytest.raises(LimitError, match="key frame"):
        read(rare, tmp_path)
    assert read(rare, tmp_path, on_missing="skip") == []


def test_a_long_pdf_becomes_its_pages(tmp_path: Path) -> None:
    path = tmp_path / "manual.pdf"
    path.write_bytes(pdf(7))
    (document,) = read(path, tmp_path)
    assert [str(media.fragment) for media in document.media] == [f"page={n}" for n in range(1, 8)]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        read(tmp_path / "gone.png", tmp_path)
    assert read(tmp_path / "gone.png", tmp_path, on_missing="skip") == []
    (tmp_path / "evil.svg").write_text("<svg><script>x</script></svg>")
    with pytest.raises(InvalidInputError, match="svg"):
        read(tmp_path / "evil.svg", tmp_path, mime_types={"image/png"})
    (tmp_path / "a.wav").write_bytes(wav(1))
    for bad in ({"window": 181}, {"window": 0}, {"window": 10, "overlap": 10}, {"overlap": -1}):
        with pytest.raises(ConfigurationError):
            read(tmp_path / "a.wav", tmp_path, **bad)


def test_a_claim_of_years_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "claim.wav"
    header = bytearray(wav(1)[:44])
    header[28:32] = (1).to_bytes(4, "little")  # bytes a second
    header[24:28] = (1).to_bytes(4, "little")  # samples a second
    path.write_bytes(bytes(header) + b"\x80" * 8000)
    with pytest.raises(LimitError, match="claims"):
        read(path, tmp_path)


@given(
    st.floats(0.1, 5000, allow_nan=False), st.floats(1, 180), st.floats(0, 0.9, exclude_max=True)
)
@example(301.0, 2.00001, 0.0)
def test_sound_windows_cover_everything(seconds: float, window: float, share: float) -> None:
    found = sound_windows(seconds, window, window * share)
    assert found[0][0] == 0
    assert found[-1][1] == pytest.approx(seconds, abs=0.001)
    for (start, end), (following, _) in itertools.pairwise(found):
        assert start < following <= end + 1e-9
    assert all(0 < end - start <= window + 0.2 for start, end in found)
