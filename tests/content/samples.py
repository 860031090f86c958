"""Small real files of every kind, made on the spot."""

from __future__ import annotations

import io
import wave
from functools import cache

import av
import numpy as np
import pypdf
from PIL import Image


@cache
def picture(kind: str = "PNG", colour: tuple[int, int, int] = (9, 9, 200)) -> bytes:
    """A picture of 12 x 8 pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), colour).save(buffer, kind)
    return buffer.getvalue()


@cache
def wav(seconds: float = 1.0) -> bytes:
    """Silence, 8 kHz, 8 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * int(8000 * seconds))
    return buffer.getvalue()


@cache
def pdf(pages: int = 2) -> bytes:
    """Empty pages of one inch."""
    writer = pypdf.PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(72, 72)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


@cache
def film(container: str = "mp4", seconds: int = 2, **options: str) -> bytes:
    """A black film of 32 x 16 pixels, 10 frames a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options) as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for number in range(seconds * 10):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


@cache
def mp3(seconds: float = 2.0, rate: int = 44100, *, tagged: bool = True) -> bytes:
    """Silence, with or without ID3 and Xing headers; below 32 kHz it is MPEG-2."""
    buffer = io.BytesIO()
    options = {} if tagged else {"id3v2_version": "0", "write_xing": "0"}
    with av.open(buffer, "w", format="mp3", options=options) as output:
        stream = output.add_stream("libmp3lame", rate=rate)
        size = 1152 if rate >= 32000 else 576
        for number in range(int(seconds * rate / size)):
            samples = np.zeros((1, size), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, number * size
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()
