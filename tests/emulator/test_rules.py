"""The service's rules: keys, limits of a content, spellings, what is cut, paths."""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

import pytest

from gemini2_core.emulator import Emulator
from tests.emulator.talk import BATCH, EMBED, VERTEX, batch, call, content, vector

# The smallest PNG: one black pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


def blob(data: bytes, mime_type: str) -> dict[str, object]:
    return {"inlineData": {"data": base64.b64encode(data).decode(), "mimeType": mime_type}}


def sound(seconds: float) -> dict[str, object]:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(8000)
        out.writeframes(b"\x80" * int(8000 * seconds))
    return blob(file.getvalue(), "audio/wav")


def pdf(pages: int) -> dict[str, object]:
    from pypdf import PdfWriter

    writer, file = PdfWriter(), io.BytesIO()
    for _ in range(pages):
        writer.add_blank_page(72, 72)
    writer.write(file)
    return blob(file.getvalue(), "application/pdf")


def embed(emulator: Emulator, *parts: str | dict[str, object], **fields: object) -> Any:
    return call(emulator, EMBED, {"content": content(*parts), **fields})


def test_no_key_is_403(gemini2_emulator: Emulator) -> None:
    reply = call(gemini2_emulator, BATCH, batch("a"), key=None)
    assert (reply.status, reply.error["status"]) == (403, "PERMISSION_DENIED")


def test_a_bad_key_is_400_with_its_reason(gemini2_emulator: Emulator) -> None:
    reply = call(gemini2_emulator, BATCH, batch("a"), key="bad-key")
    assert (reply.status, reply.error["status"]) == (400, "INVALID_ARGUMENT")
    assert reply.error["details"][0]["reason"] == "API_KEY_INVALID"


def test_only_the_keys_told_are_good(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(api_keys=frozenset({"right"}))
    assert call(gemini2_emulator, BATCH, batch("a"), key="wrong").status == 400
    assert call(gemini2_emulator, BATCH, batch("a"), key="right").status == 200
    assert call(gemini2_emulator, f"{BATCH}?key=right", batch("a"), key=None).status == 200


def test_vertex_wants_a_token(gemini2_emulator: Emulator) -> None:
    path, body = VERTEX + "gemini-embedding-2:embedContent", {"content": content("a")}
    assert call(gemini2_emulator, path, body, key=None).status == 401
    token = {"authorization": "Bearer a-token"}
    assert call(gemini2_emulator, path, body, key=None, headers=token).status == 200
    bad = {"authorization": "Bearer bad-key"}
    assert call(gemini2_emulator, path, body, key=None, headers=bad).status == 401


def test_the_log_holds_no_secret(gemini2_emulator: Emulator) -> None:
    headers = {"authorization": "Bearer a-secret", "x-mark": "kept"}
    call(gemini2_emulator, f"{BATCH}?key=a-secret", batch("a"), key="a-secret", headers=headers)
    (record,) = gemini2_emulator.requests
    assert "a-secret" not in repr(record)
    assert record.headers["x-mark"] == "kept"
    assert (record.method, record.path, record.status, record.items) == ("POST", BATCH, 200, 1)
    assert record.body == batch("a")


def test_seven_images_are_one_too_many(gemini2_emulator: Emulator) -> None:
    assert embed(gemini2_emulator, *[blob(PNG, "image/png")] * 6).status == 200
    reply = embed(gemini2_emulator, *[blob(PNG, "image/png")] * 7)
    assert reply.status == 400
    assert "at most 6 image parts per input instance, but 7" in reply.error["message"]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ([sound(180)], [sound(181)]),
        ([pdf(6)], [pdf(7)]),
        ([pdf(1)], [pdf(1), pdf(1)]),
    ],
    ids=["seconds of sound", "pages", "PDFs"],
)
def test_what_is_too_long_is_refused(
    gemini2_emulator: Emulator, good: list[dict[str, object]], bad: list[dict[str, object]]
) -> None:
    assert embed(gemini2_emulator, *good).status == 200
    reply = embed(gemini2_emulator, *bad)
    assert (reply.status, reply.error["status"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "part",
    [
        blob(b"GIF89a", "image/gif"),
        blob(b"text", "text/plain"),
        blob(b"plain text", "image/png"),
        blob(b"%PDF-1.7 broken", "application/pdf"),
        blob(b"", "audio/mpeg"),
        {"inlineData": {"data": "!!!", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://example.com/a.png", "mimeType": "image/png"}},
        {},
        {"unknown": 1},
    ],
)
def test_what_cannot_be_read_is_400(gemini2_emulator: Emulator, part: dict[str, object]) -> None:
    reply = embed(gemini2_emulator, part)
    assert (reply.status, reply.error["status"]) == (400, "INVALID_ARGUMENT")


def test_more_types_of_image_on_vertex(gemini2_emulator: Emulator) -> None:
    part = blob(b"BM" + bytes(60), "image/bmp")
    assert embed(gemini2_emulator, part).status == 400
    path = VERTEX + "gemini-embedding-2:embedContent"
    assert call(gemini2_emulator, path, {"content": content(part)}).status == 200


def test_001_takes_text_alone(gemini2_emulator: Emulator) -> None:
    path = "/v1beta/models/gemini-embedding-001:embedContent"
    assert call(gemini2_emulator, path, {"content": content(blob(PNG, "image/png"))}).status == 400


@pytest.mark.parametrize("size", [0, 5, 127, 3073])
def test_sizes_out_of_range_are_refused(gemini2_emulator: Emulator, size: int) -> None:
    assert embed(gemini2_emulator, "a", outputDimensionality=size).status == 400


@pytest.mark.parametrize("size", [128, 768, 1000, 3072])
def test_any_size_in_range_is_given(gemini2_emulator: Emulator, size: int) -> None:
    assert len(vector(gemini2_emulator, "a", outputDimensionality=size)) == size


def test_both_spellings_and_both_alphabets_are_read(gemini2_emulator: Emulator) -> None:
    urlsafe = base64.urlsafe_b64encode(PNG).rstrip(b"=").decode()
    snake: dict[str, object] = {"inline_data": {"data": urlsafe, "mime_type": "image/png"}}
    one = vector(gemini2_emulator, blob(PNG, "image/png"), outputDimensionality=768)
    assert vector(gemini2_emulator, snake, output_dimensionality=768) == one
    wrapped = {"embedContentConfig": {"outputDimensionality": 768}}
    assert vector(gemini2_emulator, snake, **wrapped) == one


def test_each_item_of_a_batch_names_the_model(gemini2_emulator: Emulator) -> None:
    reply = call(gemini2_emulator, BATCH, {"requests": [{"content": content("a")}]})
    assert reply.error["message"] == (
        "* BatchEmbedContentsRequest.requests[0].model: model is not specified\n"
    )
    for model in ("gemini-embedding-2", "models/gemini-embedding-001"):
        body = {"requests": [{"model": model, "content": content("a")}]}
        assert call(gemini2_emulator, BATCH, body).status == 400


def test_one_bad_item_fails_its_batch(gemini2_emulator: Emulator) -> None:
    reply = call(gemini2_emulator, BATCH, batch("good", "", "good"))
    assert reply.status == 400


def test_unknown_fields_are_named(gemini2_emulator: Emulator) -> None:
    reply = call(gemini2_emulator, BATCH, batch("a", dimensions=768))
    assert "Unknown name \"dimensions\" at 'requests[0]'" in reply.error["message"]


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"requests": 3}', b'{"content": "text"}'])
def test_what_is_no_request_is_400(gemini2_emulator: Emulator, raw: bytes) -> None:
    assert call(gemini2_emulator, EMBED, raw).status == 400


def test_over_8192_tokens_are_cut_without_a_word(gemini2_emulator: Emulator) -> None:
    text = "word " * 8192
    reply = embed(gemini2_emulator, text + "and more that is never read")
    assert reply.json["usageMetadata"]["promptTokenCount"] == 8192
    assert reply.json["embedding"]["values"] == vector(gemini2_emulator, text)
    assert reply.json.keys() == {"embedding", "usageMetadata"}
    vertex = VERTEX + "gemini-embedding-2:embedContent"
    assert call(gemini2_emulator, vertex, {"content": content(text + "x")}).json["truncated"]


def test_sound_is_billed_by_its_length(gemini2_emulator: Emulator) -> None:
    usage = embed(gemini2_emulator, sound(4.488)).json["usageMetadata"]
    assert usage["promptTokenDetails"] == [{"modality": "AUDIO", "tokenCount": 112}]


def test_a_pdf_is_billed_by_its_pages(gemini2_emulator: Emulator) -> None:
    usage = embed(gemini2_emulator, pdf(2)).json["usageMetadata"]
    assert usage["promptTokenDetails"] == [{"modality": "DOCUMENT", "tokenCount": 516}]


def test_media_are_read_through_their_description(gemini2_emulator: Emulator) -> None:
    from PIL import Image, PngImagePlugin

    def picture(description: str) -> dict[str, object]:
        file, about = io.BytesIO(), PngImagePlugin.PngInfo()
        about.add_text("Description", description)
        Image.new("L", (4, 4)).save(file, "PNG", pnginfo=about)
        return blob(file.getvalue(), "image/png")

    def near(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    query = vector(gemini2_emulator, "task: search result | query: fuel pump exploded view")
    pump = vector(gemini2_emulator, picture("Exploded view of the fuel pump"))
    tree = vector(gemini2_emulator, picture("A tree in winter"))
    bare = vector(gemini2_emulator, blob(PNG, "image/png"))
    assert near(query, pump) > 0.5
    assert abs(near(query, tree)) < 0.1
    assert abs(near(query, bare)) < 0.1


def test_vertex_serves_its_locations_alone(gemini2_emulator: Emulator) -> None:
    path = (
        "/v1beta1/projects/p/locations/{}/publishers/google/models/gemini-embedding-2:embedContent"
    )
    body = {"content": content("a")}
    for location, status in (("global", 200), ("us", 200), ("eu", 200), ("us-central1", 404)):
        assert call(gemini2_emulator, path.format(location), body).status == status


def test_vertex_batches_can_be_switched_off(gemini2_emulator: Emulator) -> None:
    path = VERTEX + "gemini-embedding-2:batchEmbedContents"
    body = {"requests": [{"content": content("a")}, {"content": content("b")}]}
    assert len(call(gemini2_emulator, path, body).json["embeddings"]) == 2
    gemini2_emulator.configure(vertex_batch=False)
    reply = call(gemini2_emulator, path, body)
    assert (reply.status, reply.headers["content-type"]) == (404, "text/html; charset=UTF-8")


def test_vertex_predict_is_for_001(gemini2_emulator: Emulator) -> None:
    body = {
        "instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY"}, {"content": "b"}],
        "parameters": {"outputDimensionality": 768},
    }
    reply = call(gemini2_emulator, VERTEX + "gemini-embedding-001:predict", body)
    assert [len(p["embeddings"]["values"]) for p in reply.json["predictions"]] == [768, 768]
    assert reply.json["predictions"][0]["embeddings"]["statistics"] == {
        "token_count": 1,
        "truncated": False,
    }
    assert call(gemini2_emulator, VERTEX + "gemini-embedding-2:predict", body).status == 400


def test_a_linked_medium_stands_for_itself_on_vertex(gemini2_emulator: Emulator) -> None:
    path = VERTEX + "gemini-embedding-2:embedContent"
    part: dict[str, object] = {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}}
    usage = call(gemini2_emulator, path, {"content": content(part)}).json["usageMetadata"]
    assert usage["promptTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 258}]


def test_models_are_listed(gemini2_emulator: Emulator) -> None:
    names = [m["name"] for m in call(gemini2_emulator, "/v1/models").json["models"]]
    assert "models/gemini-embedding-2" in names
    one = call(gemini2_emulator, "/v1beta/models/gemini-embedding-2").json
    assert one["inputTokenLimit"] == 8192
    assert call(gemini2_emulator, "/v1beta/models/other").status == 404


def test_unknown_paths_are_404(gemini2_emulator: Emulator) -> None:
    assert call(gemini2_emulator, "/v1beta/nothing").status == 404
    assert call(gemini2_emulator, EMBED.replace("embedContent", "sing"), {}).status == 404
    for path in (EMBED, VERTEX + "gemini-embedding-2:embedContent"):
        version = path.split("/")[1]
        other = path.replace(version, "v2")
        assert call(gemini2_emulator, other, {"content": content("a")}).status == 404


def test_every_answer_names_the_emulator(gemini2_emulator: Emulator) -> None:
    for path in ("/v1/models", "/v1beta/files", "/v1beta/batches", "/nothing"):
        assert call(gemini2_emulator, path).headers["server"] == "gemini2-emulator"
