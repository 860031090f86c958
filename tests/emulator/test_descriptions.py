"""Each kind of file carries its description where its format has a place for one."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.emulator.descriptions import describe

TYPES = [
    "image/png",
    "image/jpeg",
    "audio/wav",
    "audio/mpeg",
    "video/mp4",
    "video/quicktime",
    "application/pdf",
]


def test_png_text_of_both_kinds() -> None:
    from PIL import Image, PngImagePlugin

    file, about = io.BytesIO(), PngImagePlugin.PngInfo()
    about.add_text("Description", "a fuel pump", zip=True)
    about.add_itxt("Title", "Kraftstoffpümpe", zip=True)
    about.add_text("Software", "not this")
    Image.new("L", (2, 2)).save(file, "PNG", pnginfo=about)
    assert describe(file.getvalue(), "image/png") == "a fuel pump\nKraftstoffpümpe"


def test_jpeg_exif_and_comment() -> None:
    from PIL import Image

    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010E] = "a fuel pump"
    Image.new("L", (2, 2)).save(file, "JPEG", exif=exif, comment=b"seen from above")
    assert set(describe(file.getvalue(), "image/jpeg").split("\n")) == {
        "a fuel pump",
        "seen from above",
    }


def test_wav_info_list() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    info = b"INFO" + chunk(b"INAM", b"Engine\0") + chunk(b"ICMT", b"idle") + chunk(b"ISFT", b"x")
    body = b"WAVE" + chunk(b"fmt ", bytes(16)) + chunk(b"LIST", info) + chunk(b"data", bytes(9))
    assert describe(chunk(b"RIFF", body), "audio/wav") == "Engine\nidle"


@pytest.mark.parametrize(
    ("container", "mime_type"),
    [("mp3", "audio/mpeg"), ("mp4", "video/mp4"), ("mov", "video/quicktime")],
)
def test_tags_of_sound_and_film(container: str, mime_type: str) -> None:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        out.metadata["title"] = "Valve"
        out.metadata["comment"] = "opening"
        if container == "mp3":
            stream = out.add_stream("mp3", rate=44100)
            frame = av.AudioFrame(format="s16p", layout="mono", samples=1152)
            frame.rate = 44100
        else:
            stream = out.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 16
            frame = av.VideoFrame(16, 16, "yuv420p")
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert describe(file.getvalue(), mime_type).split("\n") == ["Valve", "opening"]


def test_pdf_title_and_subject() -> None:
    from pypdf import PdfWriter

    writer, file = PdfWriter(), io.BytesIO()
    writer.add_blank_page(72, 72)
    writer.add_metadata({"/Title": "Manual", "/Subject": "The pump"})
    writer.write(file)
    assert describe(file.getvalue(), "application/pdf") == "Manual\nThe pump"


@given(st.binary(max_size=200), st.sampled_from(TYPES))
def test_broken_files_have_none(data: bytes, mime_type: str) -> None:
    starts = {
        "image/png": b"\x89PNG\r\n\x1a\n",
        "image/jpeg": b"\xff\xd8\xff",
        "audio/wav": b"RIFF",
    }
    assert isinstance(describe(starts.get(mime_type, b"") + data, mime_type), str)
