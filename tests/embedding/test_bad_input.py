"""What can't be embedded: one clear error each, before anything is sent, with no secret in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemini2_core import Gemini2Error
from gemini2_core.emulator import Emulator
from gemini2_core.errors import (
    InvalidInputError,
    LimitError,
    MediaAccessError,
    MediaNotFoundError,
)
from tests.embedding.conftest import KEY, Make, draw


def pictures(folder: Path, count: int) -> list[Path]:
    return [draw(folder / f"figure {n}.png", f"rgb({n},0,0)") for n in range(count)]


def pdf(folder: Path, pages: int) -> Path:
    from pypdf import PdfWriter

    writer = PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(200, 200)
    path = folder / f"{pages} pages.pdf"
    writer.write(path)
    return path


def wav(folder: Path, seconds: int) -> Path:
    import wave

    path = folder / f"{seconds}s.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(8000 * seconds))
    return path


def text_called_png(folder: Path) -> Path:
    path = folder / "notes.png"
    path.write_text("Only text, whatever it is called.")
    return path


@pytest.mark.parametrize(
    ("make_input", "kind", "words"),
    [
        (lambda d: pictures(d, 7), LimitError, "7 images.*takes 6.*mean"),
        (lambda d: pdf(d, 7), LimitError, "7 pages.*reads 6"),
        (lambda d: wav(d, 200), LimitError, "200.0 s.*takes 180"),
        (text_called_png, InvalidInputError, r"notes\.png.*text/plain"),
        (lambda d: d / "nowhere.png", MediaNotFoundError, r"nowhere\.png"),
        (lambda d: d, InvalidInputError, ""),
        (lambda d: b"\x00\x01 nothing known", InvalidInputError, "type"),
        (lambda d: ["a", None], InvalidInputError, "None"),
        (lambda d: None, InvalidInputError, "None"),
        (lambda d: "a\udc80b", InvalidInputError, "surrogate"),
        (lambda d: 7, InvalidInputError, "int"),
        (lambda d: "![x](../outside.png)", MediaAccessError, "outside|media_root"),
        (lambda d: "![x](/etc/hostname)", MediaAccessError, "media_root|absolute"),
        (lambda d: "![x](link.png)", MediaAccessError, "media_root"),
        (lambda d: "![x](missing.png)", MediaNotFoundError, "missing"),
        (lambda d: "![x](http://127.0.0.1/x.png)", MediaAccessError, "allow_remote"),
        (lambda d: "![x](a.pdf#page=0)", Gemini2Error, "page"),
        (lambda d: "![x](a.wav#t=5,2)", Gemini2Error, "t=5,2|5"),
    ],
)
def test_bad_input_is_told_before_anything_is_sent(
    make: Make,
    emulator: Emulator,
    tmp_path: Path,
    make_input: Callable[[Path], Any],
    kind: type[Gemini2Error],
    words: str,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    draw(tmp_path / "outside.png", "red")
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    pdf(root, 1).rename(root / "a.pdf")
    wav(root, 1).rename(root / "a.wav")
    embedder = make(media_root=root)
    for call in (
        embedder.embed_contents,
        lambda inputs: asyncio.run(embedder.aembed_contents(inputs)),
    ):
        with pytest.raises(kind, match=f"(?s)input 1: .*({words})") as caught:
            call(["fine", make_input(root)])
        assert caught.value.index == 1
        assert KEY not in repr(caught.value)
    assert emulator.requests == []


def test_a_link_to_a_private_address_is_refused_even_if_remote_media_are_allowed(
    make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    for address in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "10.1.2.3", "169.254.169.254"):
        embedder = make(media_root=tmp_path, allow_remote=True)
        link = f"{emulator.base_url.replace('127.0.0.1', address)}/x.png"
        with pytest.raises(MediaAccessError, match="input 0") as caught:
            embedder.embed_documents([f"![x]({link})"])
        assert caught.value.index == 0
    assert emulator.requests == []


def test_seven_pictures_are_fine_apart(make: Make, tmp_path: Path) -> None:
    result = make().embed_contents([pictures(tmp_path, 7)], aggregate="mean")
    assert result.usage.items == 7
    assert len(make().embed_contents([*pictures(tmp_path, 7)])) == 7


def test_a_picture_that_goes_missing_after_planning_fails_alone(
    make: Make, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = pictures(tmp_path, 4)
    read = __import__("gemini2_core.content.media", fromlist=["Media"]).Media.read

    def gone(self: Any) -> bytes:
        if self.source == inputs[2]:
            raise MediaNotFoundError(f"{self.name} is gone")
        return bytes(read(self))

    monkeypatch.setattr("gemini2_core.content.media.Media.read", gone)
    with pytest.raises(MediaNotFoundError, match=r"input 2: .*figure 2\.png") as caught:
        make().embed_contents(inputs)
    assert caught.value.partial is not None
    assert caught.value.partial.indices.tolist() == [0, 1, 3]


def test_001_reads_no_media(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"input 0: .*text only.*gemini-embedding-2"):
        make("gemini-embedding-001").embed_contents(pictures(tmp_path, 1))


def test_large_media_on_vertex_are_told_to_go_to_cloud_storage(
    make: Make, tmp_path: Path, vertex: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemini2_core.embedding.plan.FILES_API_BYTES", 10)
    with pytest.raises(LimitError, match=r"input 0: .*gs://"):
        make(**vertex).embed_contents(pictures(tmp_path, 1))
