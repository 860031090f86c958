"""Cutting pages and spans: the result opens, and is what was asked for."""

from __future__ import annotations

import io
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pypdf
import pytest

from gemini2_core.content.cut import cut_media, cut_pdf
from gemini2_core.content.fragments import Fragment, parse_fragment
from gemini2_core.errors import InvalidInputError, MediaNotFoundError, MissingExtraError

av = pytest.importorskip("av")

RATE = 44_100


def fragment(text: str) -> Fragment:
    parsed = parse_fragment(text)
    assert parsed is not None
    return parsed


def a_pdf(pages: int, password: str | None = None) -> bytes:
    writer = pypdf.PdfWriter()
    for number in range(pages):
        writer.add_blank_page(width=100 + number, height=100)
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


def widths(pdf: bytes) -> list[int]:
    return [int(page.mediabox.width) for page in pypdf.PdfReader(io.BytesIO(pdf)).pages]


def a_wav(seconds: float, width: int = 2, channels: int = 2, rate: int = 8000) -> bytes:
    output = io.BytesIO()
    with wave.open(output, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        frames = round(seconds * rate)
        numbers = np.arange(frames, dtype=np.int64)[:, None].repeat(channels, axis=1)
        file.writeframes((numbers.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]).tobytes())
    return output.getvalue()


def a_sound(container: str, codec: str, seconds: float) -> bytes:
    """A sweep, so that a cut can be told by its pitch."""
    output = io.BytesIO()
    with av.open(output, "w", format=container) as writer:
        stream = writer.add_stream(codec, rate=RATE, layout="mono")
        time = np.arange(round(seconds * RATE)) / RATE
        samples = (0.5 * np.sin(2 * np.pi * (200 + 100 * time) * time)).astype(np.float32)
        kind = stream.codec_context.format.name
        for start in range(0, len(samples), 1152):
            part = samples[None, start : start + 1152]
            if kind.startswith("s16"):
                part = (part * 32767).astype(np.int16)
            elif kind.startswith("s32"):
                part = (part * 2**31).astype(np.int32)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), kind, "mono")
            frame.sample_rate = RATE
            frame.pts = start
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return output.getvalue()


def a_film(container: str, seconds: int, *, sound: bool = False, b_frames: int = 0) -> bytes:
    """10 frames a second, a key frame each second, the frame's number as its grey."""
    output = io.BytesIO()
    with av.open(output, "w", format=container) as writer:
        stream = writer.add_stream("libx264", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.options = {"x264-params": f"keyint=10:scenecut=0:bframes={b_frames}"}
        track = writer.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for number in range(seconds * 10):
            grey = np.full((64, 64, 3), 2 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, "rgb24")
            frame.pts = number
            frame.time_base = Fraction(1, 10)
            writer.mux(stream.encode(frame))
            if track is not None:
                silence = np.zeros((1, RATE // 10), np.float32)
                part = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
                part.sample_rate = RATE
                part.pts = number * (RATE // 10)
                writer.mux(track.encode(part))
        writer.mux(stream.encode(None))
        if track is not None:
            writer.mux(track.encode(None))
    return output.getvalue()


def sound_of(data: bytes) -> tuple[float, int]:
    """Seconds that decode, and the pitch at the start in Hz."""
    with av.open(io.BytesIO(data)) as reader:
        parts = [frame.to_ndarray() for frame in reader.decode(audio=0)]
        planar = reader.streams.audio[0].codec_context.format.is_planar
    samples = np.concatenate([part[0] if planar else part.reshape(-1) for part in parts])
    piece = samples[4000:12192].astype(np.float64)
    pitch = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))).argmax() * RATE / len(piece)
    return len(samples) / RATE, int(pitch)


def film_of(data: bytes) -> list[int]:
    """The numbers of the frames that decode."""
    with av.open(io.BytesIO(data)) as reader:
        times, numbers = [], []
        for frame in reader.decode(video=0):
            times.append(float(frame.time))
            numbers.append(round(float(frame.to_ndarray(format="rgb24").mean()) / 2))
    # The last frames may have gaps: one behind the end is kept if an earlier one is made of it.
    whole = [n / 10 for n in range(len(times) - 3)]
    assert times[: len(whole)] == pytest.approx(whole, abs=0.002)
    return numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [("page=1", [100]), ("page=3", [102]), ("page=2-4", [101, 102, 103]), ("page=5", [104])],
)
def test_pages_are_cut_out(text: str, expected: list[int], tmp_path: Path) -> None:
    pdf = a_pdf(5)
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf)
    assert widths(cut_pdf(pdf, fragment(text))) == expected
    assert cut_pdf(path, fragment(text)) == cut_pdf(pdf, fragment(text))


def test_a_file_is_gone_through_once_for_all_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    class Counting(pypdf.PdfReader):
        def __init__(self, stream: Any) -> None:
            read.append(stream)
            super().__init__(stream)

    data = a_pdf(12, "")
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    expected = [cut_pdf(data, fragment(f"page={n}")) for n in range(1, 13)]
    monkeypatch.setattr(pypdf, "PdfReader", Counting)
    with ThreadPoolExecutor(4) as threads:
        cut = list(threads.map(lambda n: cut_pdf(path, fragment(f"page={n}")), range(1, 13)))
    assert cut == expected
    assert len(read) == 1
    assert read[0].closed
    path.write_bytes(a_pdf(2))
    assert widths(cut_pdf(path, fragment("page=2"))) == [101], "another file by now"
    with pytest.raises(InvalidInputError, match="has 2 pages"):
        cut_pdf(path, fragment("page=3"))
    assert widths(cut_pdf(path, fragment("page=1"))) == [100]


def test_a_page_does_not_drag_in_those_it_links_to() -> None:
    from pypdf.annotations import Link

    writer = pypdf.PdfWriter()
    for _ in range(3):
        writer.add_blank_page(width=100, height=100)
    writer.add_attachment("big", bytes(range(256)) * 1000)
    writer.add_annotation(0, Link(rect=(0, 0, 50, 50), target_page_index=2))
    writer.add_outline_item(title="third", page_number=2)
    output = io.BytesIO()
    writer.write(output)
    cut = cut_pdf(output.getvalue(), fragment("page=1"))
    assert widths(cut) == [100]
    assert len(cut) < 2000
    assert cut.count(b"/Type /Page\n") == 1


def test_pdfs_that_cannot_be_cut_are_clear_errors() -> None:
    with pytest.raises(InvalidInputError, match="has 2 pages"):
        cut_pdf(a_pdf(2), fragment("page=2-3"))
    with pytest.raises(InvalidInputError, match=r"has 1 page$"):
        cut_pdf(a_pdf(1), fragment("page=2"))
    with pytest.raises(InvalidInputError, match="encrypted"):
        cut_pdf(a_pdf(2, "secret"), fragment("page=1"))
    for broken in (b"", b"%PDF-1.7\nnothing", a_pdf(3)[:200], b"\x89PNG"):
        with pytest.raises(InvalidInputError, match="broken"):
            cut_pdf(broken, fragment("page=1"))
    with pytest.raises(InvalidInputError, match="time"):
        cut_pdf(a_pdf(1), fragment("t=1,2"))


def test_a_pdf_without_a_user_password_is_cut() -> None:
    writer = pypdf.PdfWriter()
    writer.add_blank_page(width=100, height=100)
    writer.encrypt("", "owner", algorithm="RC4-128")
    output = io.BytesIO()
    writer.write(output)
    assert widths(cut_pdf(output.getvalue(), fragment("page=1"))) == [100]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_wav_is_cut_to_the_sample_without_pyav(
    width: int, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    data = a_wav(3, width, channels)
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    cut = cut_media(path, "audio/wav", fragment("t=1.0005,2"))
    assert cut == cut_media(data, "audio/x-wav", fragment("t=1.0005,2"))
    with wave.open(io.BytesIO(data)) as whole, wave.open(io.BytesIO(cut)) as part:
        assert part.getparams()[:3] == whole.getparams()[:3]
        whole.setpos(8004)
        assert part.readframes(10**6) == whole.readframes(16000 - 8004)


def test_a_wav_of_floats_and_one_with_an_open_size_are_cut() -> None:
    data = a_sound("wav", "pcm_f32le", 2)
    seconds, _ = sound_of(cut_media(data, "audio/wav", fragment("t=0.5,1.25")))
    assert seconds == 0.75
    streamed = a_wav(2)
    streamed = streamed[:40] + b"\xff\xff\xff\xff" + streamed[44:]
    with wave.open(io.BytesIO(cut_media(streamed, "audio/wav", fragment("t=1")))) as part:
        assert part.getnframes() == 8000


SOUNDS = [
    ("audio/mpeg", "mp3", "libmp3lame"),
    ("audio/mp4", "ipod", "aac"),
    ("audio/aac", "adts", "aac"),
    ("audio/flac", "flac", "flac"),
]


@pytest.mark.parametrize(("mime_type", "container", "codec"), SOUNDS)
def test_sound_is_cut_at_packet_borders(
    mime_type: str, container: str, codec: str, tmp_path: Path
) -> None:
    data = a_sound(container, codec, 8)
    path = tmp_path / "sound"
    path.write_bytes(data)
    for text, start, length in [
        ("t=2,5", 2, 3),
        ("t=0,1.5", 0, 1.5),
        ("t=6", 6, 2),
        ("t=7,99", 7, 1),
    ]:
        cut = cut_media(path, mime_type, fragment(text))
        assert cut == cut_media(data, mime_type, fragment(text))
        seconds, pitch = sound_of(cut)
        packet = 4608 / RATE if codec == "flac" else 1152 / RATE
        assert seconds == pytest.approx(length, abs=2.1 * packet)
        # Pitch at time t of the sweep is 200 + 200 t; measured 0.18 s into the cut.
        assert pitch == pytest.approx(200 + 200 * (start + 0.18), abs=25)
        assert len(cut) < len(data) * (length + 1) / 8 + 2000


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize(
    ("mime_type", "container"), [("video/mp4", "mp4"), ("video/quicktime", "mov")]
)
def test_film_starts_at_the_key_frame_and_ends_with_the_span(
    mime_type: str, container: str, sound: bool, b_frames: int, tmp_path: Path
) -> None:
    data = a_film(container, 6, sound=sound, b_frames=b_frames)
    path = tmp_path / "film"
    path.write_bytes(data)
    spans = [("t=2,4", 20, 39), ("t=2.5,3.25", 20, 32), ("t=,1", 0, 9), ("t=4.95", 40, 59)]
    for text, first, last in [*spans, ("t=5,99", 50, 59)]:
        cut = cut_media(path, mime_type, fragment(text))
        assert cut == cut_media(data, mime_type, fragment(text))
        numbers = film_of(cut)
        assert numbers[0] == pytest.approx(first, abs=1)
        assert numbers[: last - first + 1] == pytest.approx(list(range(first, last + 1)), abs=1)
        assert len(numbers) - (last - first + 1) in range(1 + b_frames)
        if sound:
            seconds, _ = sound_of(cut)
            assert seconds == pytest.approx((last - first + 1) / 10, abs=0.1)


@pytest.mark.parametrize("start", [8, 8.5, 1000])
def test_a_span_behind_the_end_is_an_error_that_says_where_the_end_is(start: float) -> None:
    span = Fragment("t", start, start + 1)
    media = [("audio/wav", a_wav(8)), ("audio/mpeg", a_sound("mp3", "libmp3lame", 7.8))]
    media.append(("video/mp4", a_film("mp4", 8)))
    for mime_type, data in media:
        with pytest.raises(InvalidInputError, match=r"ends at [78]\.\d\d s"):
            cut_media(data, mime_type, span)


@pytest.mark.parametrize("mime_type", ["audio/wav", "audio/mpeg", "video/mp4", "video/quicktime"])
def test_broken_media_are_clear_errors(mime_type: str) -> None:
    for broken in (b"", b"\0" * 5000, b"RIFF\0\0\0\0WAVEfmt ", a_film("mp4", 2)[:500]):
        with pytest.raises(InvalidInputError):
            cut_media(broken, mime_type, fragment("t=0,1"))


def test_what_cannot_be_cut_is_named() -> None:
    with pytest.raises(InvalidInputError, match="image/png"):
        cut_media(b"x", "image/png", fragment("t=0,1"))
    with pytest.raises(InvalidInputError, match="pages"):
        cut_media(a_wav(1), "audio/wav", fragment("page=1"))
    with pytest.raises(InvalidInputError, match="no picture"):
        cut_media(a_sound("ipod", "aac", 1), "video/mp4", fragment("t=0,1"))


def test_without_pyav_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"gemini2-embeddings\[media\]"):
        cut_media(b"x", "audio/mpeg", fragment("t=0,1"))


@pytest.mark.parametrize("mime_type", ["audio/wav", "audio/mpeg"])
def test_a_file_that_is_gone_is_not_found(mime_type: str, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="gone"):
        cut_media(tmp_path / "gone", mime_type, fragment("t=0,1"))
    with pytest.raises(MediaNotFoundError, match="gone"):
        cut_pdf(tmp_path / "gone", fragment("page=1"))


def test_damaged_media_are_cut_or_are_clear_errors() -> None:
    random = np.random.default_rng(1)
    media = [("video/mp4", a_film("mp4", 2, sound=True, b_frames=3)), ("audio/wav", a_wav(2))]
    media += [("audio/mpeg", a_sound("mp3", "libmp3lame", 2)), ("application/pdf", a_pdf(3))]
    for mime_type, data in media:
        for _ in range(150):
            damaged = np.frombuffer(data, np.uint8).copy()
            places = random.integers(0, len(data), 10)
            damaged[places] = random.integers(0, 256, 10)
            try:
                if mime_type == "application/pdf":
                    cut_pdf(damaged.tobytes(), fragment("page=2-3"))
                else:
                    cut_media(damaged.tobytes(), mime_type, fragment("t=1,2"))
            except InvalidInputError:
                continue
