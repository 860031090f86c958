"""Media: typed by content, measured by headers, read late, checked against digests."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import os
import pickle
import struct
from pathlib import Path

import pytest
from PIL import Image

from gemini2_core.content import Fragment, Measure, Media
from gemini2_core.content.media_types import normalize_mime_type, sniff
from gemini2_core.errors import InvalidInputError, MediaAccessError, MediaNotFoundError
from gemini2_core.model import Modality
from tests.content import samples

TYPED = {
    "image/png": samples.picture("PNG"),
    "image/jpeg": samples.picture("JPEG"),
    "image/gif": samples.picture("GIF"),
    "image/webp": samples.picture("WEBP"),
    "image/bmp": samples.picture("BMP"),
    "audio/wav": samples.wav(),
    "audio/mpeg": samples.mp3(),
    "video/mp4": samples.film(),
    "video/quicktime": samples.film("mov"),
    "application/pdf": samples.pdf(),
}
DIGEST = f"sha256:{hashlib.sha256(samples.picture()).hexdigest()}"


@pytest.mark.parametrize("mime_type", TYPED)
def test_the_bytes_tell_the_type(mime_type: str, tmp_path: Path) -> None:
    path = tmp_path / "misleading.txt"
    path.write_bytes(TYPED[mime_type])
    assert Media.from_path(path).mime_type == mime_type
    assert Media.from_bytes(TYPED[mime_type]).mime_type == mime_type


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (samples.mp3(tagged=False), "audio/mpeg"),
        (samples.mp3(rate=16000, tagged=False), "audio/mpeg"),
        (b"ID3\x03\0\0\0\x7f\x7f\x7f" + bytes(5000), "audio/mpeg"),
        (b"II*\0\x08\0\0\0" + bytes(5000), "image/tiff"),
        (b"\n\n%scanner 1.0\r\n" + samples.pdf(), "application/pdf"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(64), "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf" + bytes(64), "image/heif"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(64), "image/avif"),
        (b"\0\0\0\x20ftypM4A \0\0\x02\0M4A isomiso2" + bytes(64), "audio/mp4"),
        (b"\0\0\0\x08wide\0\0\x10\0mdat" + bytes(64), "video/quicktime"),
        (b"BMW builds cars", "text/plain"),
        (b"ID3 is a tag", "text/plain"),
        (b"GIF89a is a format", "text/plain"),
        (("x" + "é" * 4000).encode(), "text/plain"),
        ("hello".encode("utf-16"), "text/plain"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (bytes(64), None),
        (b"", None),
    ],
)
def test_awkward_files_are_told_too(data: bytes, mime_type: str | None) -> None:
    assert sniff(data[:4096]) == mime_type


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("audio/x-wav", "audio/wav"),
        ("audio/mp3", "audio/mpeg"),
        ("IMAGE/JPG", "image/jpeg"),
        ("audio/wav; codecs=1", "audio/wav"),
        ("image/png", "image/png"),
    ],
)
def test_types_have_one_name(written: str, normal: str) -> None:
    assert normalize_mime_type(written) == normal


@pytest.mark.parametrize("written", ["png", "", "image/", "a b/c"])
def test_what_is_no_type_is_refused(written: str) -> None:
    with pytest.raises(InvalidInputError, match="no MIME type"):
        normalize_mime_type(written)


def test_a_text_called_png_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    path = tmp_path / "figures" / "x.png"
    path.write_text("not a picture")
    with pytest.raises(InvalidInputError, match=r"^figures/x\.png is text/plain, not a picture$"):
        Media.from_path(path)


def test_a_text_file_is_to_be_passed_as_text(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("a note")
    with pytest.raises(InvalidInputError, match=r"notes\.txt is text/plain: read it and pass"):
        Media.from_path(path)


def test_a_declared_type_that_contradicts_the_bytes_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"is application/pdf, not a picture"):
        Media.from_bytes(samples.pdf(), "image/png")
    with pytest.raises(InvalidInputError, match=r"is text/plain, not a picture"):
        Media.from_bytes(b"fake image bytes", "image/png")
    with pytest.raises(InvalidInputError, match="its bytes are not that"):
        Media.from_bytes(bytes(64), "image/png")


def test_of_two_kinds_of_picture_the_bytes_decide() -> None:
    assert Media.from_bytes(samples.picture(), "image/jpg").mime_type == "image/png"


def test_a_container_for_both_is_sound_if_declared_so() -> None:
    assert Media.from_bytes(samples.film(), "audio/mp4").modality is Modality.AUDIO


def test_bytes_that_tell_nothing_need_a_type() -> None:
    with pytest.raises(InvalidInputError, match=r"pass \(bytes, mime_type\)"):
        Media.from_bytes(bytes(64))
    assert Media.from_bytes(bytes(64), "audio/mp3").mime_type == "audio/mpeg"


@pytest.mark.parametrize(
    ("data", "measure"),
    [
        (samples.picture("PNG"), Measure(width=12, height=8)),
        (samples.picture("JPEG"), Measure(width=12, height=8)),
        (samples.picture("WEBP"), Measure(width=12, height=8)),
        (samples.wav(1.5), Measure(seconds=1.5)),
        (samples.pdf(3), Measure(pages=3)),
        (samples.film(), Measure(seconds=2.0)),
        (samples.film("mov"), Measure(seconds=2.0)),
    ],
)
def test_headers_tell_the_measure(data: bytes, measure: Measure, tmp_path: Path) -> None:
    path = tmp_path / "medium"
    path.write_bytes(data)
    assert Media.from_bytes(data).measure() == measure
    assert Media.from_path(path).measure() == measure


@pytest.mark.parametrize("tagged", [True, False])
def test_mp3_is_measured(tagged: bool) -> None:
    seconds = Media.from_bytes(samples.mp3(2.0, tagged=tagged)).measure().seconds
    assert seconds == pytest.approx(2.0, abs=0.1)


def test_a_wav_from_a_pipe_is_as_long_as_its_bytes() -> None:
    data = bytearray(samples.wav(1.0))
    data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    assert Media.from_bytes(data).measure().seconds == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            b"\0\0\0\x18ftypisom\0\0\0\0isommp41" + b"\0\0\0\x08free" * 400_000, id="mp4 boxes"
        ),
        pytest.param(
            b"\0\0\0\x18ftypisom\0\0\0\0isommp41"
            + b"".join(struct.pack(">I", 8 * (9000 - i)) + b"moov" for i in range(9000)),
            id="mp4 nesting",
        ),
        pytest.param(b"\xff\xd8\xff\xe0\0\x02" + b"\xff\xe0\0\x02" * 400_000, id="jpeg segments"),
        pytest.param(b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100), id="endless ID3"),
        pytest.param(b"%PDF-1.7\n" + b"1 0 obj\n" * 20_000, id="pdf objects"),
        pytest.param(
            b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
            + b"".join(
                b"%d 0 obj<</Type/Pages/Kids[%d 0 R %d 0 R]/Count 2>>endobj\n" % (i, i + 1, i + 1)
                for i in range(2, 60)
            )
            + b"60 0 obj<</Type/Page>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
            id="pdf page tree",
        ),
        pytest.param(samples.film()[:200], id="truncated film"),
        pytest.param(samples.picture()[:12], id="truncated picture"),
    ],
)
@pytest.mark.timeout(20)
def test_hostile_headers_end_in_an_error_or_no_measure(data: bytes) -> None:
    media = Media.from_bytes(data)
    try:
        measure = media.measure()
    except InvalidInputError:
        return
    assert measure == Measure() or measure.pages


def test_a_locked_pdf_says_so() -> None:
    import pypdf

    writer = pypdf.PdfWriter()
    writer.add_blank_page(72, 72)
    writer.encrypt("secret", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    with pytest.raises(InvalidInputError, match="password"):
        Media.from_bytes(buffer.getvalue()).measure()


def test_a_fragment_is_measured_without_cutting() -> None:
    assert Media.from_bytes(samples.pdf(5), fragment="page=2-4").measure().pages == 3
    assert Media.from_bytes(samples.pdf(5), fragment="page=4-9").measure().pages == 2
    assert Media.from_bytes(samples.wav(4.0), fragment="t=1,3").measure().seconds == 2
    assert Media.from_bytes(samples.wav(4.0), fragment="t=3").measure().seconds == 1


def test_a_fragment_behind_the_end_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match=r"has 2 pages: there is no #page=3"):
        Media.from_bytes(samples.pdf(2), fragment="page=3").measure()
    with pytest.raises(InvalidInputError, match=r"1\.0 seconds long: nothing is at #t=2"):
        Media.from_bytes(samples.wav(1.0), fragment="t=2").measure()


@pytest.mark.parametrize(
    ("data", "fragment"),
    [(samples.picture(), "page=1"), (samples.pdf(), "t=1,2"), (samples.wav(), "page=1")],
)
def test_a_fragment_fits_its_medium(data: bytes, fragment: str) -> None:
    with pytest.raises(InvalidInputError, match="to cut out"):
        Media.from_bytes(data, fragment=fragment)


def test_a_page_is_cut_when_read() -> None:
    media = Media.from_bytes(samples.pdf(3), fragment="page=2")
    cut = Media.from_bytes(media.read())
    assert cut.measure().pages == 1
    assert media.size() == len(media.read())
    assert media.sha256() == hashlib.sha256(media.read()).hexdigest()


def test_a_span_is_cut_when_read(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(samples.wav(4.0))
    cut = Media.from_bytes(Media.from_path(path, fragment=Fragment("t", 1, 3)).read())
    assert cut.measure().seconds == pytest.approx(2.0, abs=0.1)


def test_a_path_is_read_late(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(samples.picture())
    media = Media.from_path(path)
    later = samples.picture(colour=(1, 2, 3))
    path.write_bytes(later)
    assert media.read() == later
    assert media.sha256() == hashlib.sha256(later).hexdigest()
    assert media.size() == len(later)
    path.unlink()
    for ask in (media.read, media.sha256, media.size, media.measure):
        with pytest.raises(MediaNotFoundError, match=r"x\.png"):
            ask()


def test_a_file_that_changed_since_its_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(samples.picture())
    media = Media.from_path(path, digest=DIGEST)
    assert media.read() == samples.picture()
    path.write_bytes(samples.picture(colour=(7, 7, 7)))
    for ask in (media.read, media.sha256):
        with pytest.raises(InvalidInputError, match=r"x\.png has changed"):
            ask()


def test_the_digest_is_that_of_the_whole_file() -> None:
    media = Media.from_bytes(samples.pdf(3), fragment="page=2").with_digest()
    assert media.digest == f"sha256:{hashlib.sha256(samples.pdf(3)).hexdigest()}"
    assert media.read()
    with pytest.raises(InvalidInputError, match="has changed"):
        Media.from_bytes(samples.pdf(2), fragment="page=2", digest=media.digest).read()


@pytest.mark.parametrize("digest", ["sha256:abc", "md5:" + "0" * 32, "0" * 64])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(InvalidInputError, match="no digest"):
        Media.from_bytes(samples.picture(), digest=digest)


def test_identity_is_that_of_the_bytes_sent(tmp_path: Path) -> None:
    path = tmp_path / "x.pdf"
    path.write_bytes(samples.pdf())
    (tmp_path / "link.pdf").symlink_to(path)
    one = Media.from_path(path)
    assert one.identity == Media.from_path(tmp_path / "link.pdf", alt="caption").identity
    assert one.identity != Media.from_path(path, fragment="page=1").identity
    before = one.identity
    path.write_bytes(samples.pdf(3))
    assert one.identity != before
    first, second = Media.from_bytes(samples.wav()), Media.from_bytes(bytes(samples.wav()))
    assert first.identity == second.identity
    assert first.identity != Media.from_bytes(samples.wav(2.0)).identity


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "empty", "under a file"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "empty":
        path.touch()
    elif kind == "under a file":
        path.touch()
        path /= "y.png"
    missing = kind in ("missing", "under a file")
    with pytest.raises(MediaNotFoundError if missing else InvalidInputError, match=r"\.png"):
        Media.from_path(path)


def test_a_uri_is_a_reference_and_nothing_is_read() -> None:
    picture = Media.from_uri("https://example.org/a/x.png?token=hush")
    assert (picture.mime_type, picture.remote, picture.by_service) == ("image/png", True, False)
    assert "hush" not in picture.name + repr(picture)
    page = Media.from_uri("https://example.org/m.pdf#page=3")
    assert (page.source, str(page.fragment)) == ("https://example.org/m.pdf", "page=3")
    for uri in (
        "gs://bucket/x.mp4",
        "files/abc-123",
        "https://generativelanguage.googleapis.com/v1beta/files/abc-123",
    ):
        media = Media.from_uri(uri, "video/mp4")
        assert media.by_service
        assert media.size() == 0
        assert media.measure() == Measure()
        with pytest.raises(InvalidInputError, match="read by the service"):
            media.read()


def test_an_address_is_not_fetched_unless_allowed() -> None:
    with pytest.raises(MediaAccessError, match="allow_remote=True"):
        Media.from_uri("https://example.org/x.png").read()


async def test_an_address_is_not_fetched_unless_allowed_async() -> None:
    with pytest.raises(MediaAccessError, match="allow_remote=True"):
        await Media.from_uri("https://example.org/x.png").afetched()


async def test_an_allowed_address_becomes_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    body = samples.picture()

    def fetch(url: str, *, max_bytes: int, timeout: float) -> bytes:
        return body

    async def afetch(url: str, **limits: float) -> bytes:
        return body

    monkeypatch.setattr("gemini2_core.content.remote.fetch", fetch)
    monkeypatch.setattr("gemini2_core.content.remote.afetch", afetch)
    media = Media.from_uri("https://example.org/image?id=3", alt="x", allow_remote=True)
    for fetched in (media.fetched(), await media.afetched()):
        assert (fetched.mime_type, fetched.alt, fetched.remote) == ("image/png", "x", False)
        assert fetched.read() == body
    body = b"<html>please log in</html>"
    with pytest.raises(InvalidInputError, match=r"x\.png is text/plain, not a picture"):
        Media.from_uri("https://example.org/x.png", allow_remote=True).fetched()


def test_an_allowed_address_is_still_not_a_private_one() -> None:
    with pytest.raises(MediaAccessError, match=r"127\.0\.0\.1|private|loopback"):
        Media.from_uri("http://127.0.0.1:9/x.png", allow_remote=True).fetched()


def test_a_part_of_what_the_service_reads_cannot_be_cut() -> None:
    with pytest.raises(InvalidInputError, match="reads this file itself"):
        Media.from_uri("gs://bucket/x.mp4#t=1,2")


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "/etc/passwd", "x.png", "ftp://a/x.png", "javascript:1", ""]
)
def test_other_schemes_are_refused(uri: str) -> None:
    with pytest.raises(InvalidInputError, match="no reference to a medium"):
        Media.from_uri(uri)


def test_a_data_uri_is_held() -> None:
    encoded = base64.b64encode(samples.picture()).decode()
    assert Media.from_uri(f"data:image/png;base64,{encoded}").read() == samples.picture()
    assert Media.from_uri(f"data:;base64,{encoded}").mime_type == "image/png"
    with pytest.raises(InvalidInputError, match="not base64"):
        Media.from_uri("data:image/png;base64,%%%")


def test_base64_is_read_in_either_alphabet() -> None:
    data = samples.picture("JPEG")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        assert Media.from_base64(text, "image/jpeg").read() == data
        assert Media.from_base64(text.rstrip("=")).read() == data


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1", "P", "CMYK", "F", "YCbCr"])
def test_a_pillow_image_is_held_as_png(mode: str) -> None:
    media = Media.from_image(Image.new(mode, (5, 4)))
    assert media.mime_type == "image/png"
    assert media.measure() == Measure(width=5, height=4)


def test_a_medium_can_be_copied_and_pickled(tmp_path: Path) -> None:
    media = Media.from_bytes(samples.pdf(3), fragment="page=2", alt="two")
    media.measure()
    assert pickle.loads(pickle.dumps(media)) == media == copy.deepcopy(media)
    assert hash(media) == hash(copy.deepcopy(media))


def test_repr_is_short() -> None:
    assert len(repr(Media.from_bytes(samples.wav(10.0)))) < 100
