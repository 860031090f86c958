"""The Files API: resumable uploads in pieces, use in a content, lists, expiry."""

from __future__ import annotations

import base64
import hashlib

import pytest

from gemini2_core.emulator import Emulator
from tests.emulator.talk import EMBED, Reply, call, content, vector
from tests.emulator.test_rules import PNG, blob


def begin(emulator: Emulator, mime_type: str, size: int, **about: object) -> str:
    headers = {
        "x-goog-upload-protocol": "resumable",
        "x-goog-upload-command": "start",
        "x-goog-upload-header-content-length": str(size),
        "x-goog-upload-header-content-type": mime_type,
    }
    reply = call(emulator, "/upload/v1beta/files", {"file": about}, headers=headers)
    assert reply.headers["x-goog-upload-status"] == "active"
    url = reply.headers["x-goog-upload-url"]
    assert url.startswith(emulator.base_url)
    return url.removeprefix(emulator.base_url)


def send(emulator: Emulator, url: str, data: bytes, offset: int, command: str) -> Reply:
    headers = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
    return call(emulator, url, data, key=None, headers=headers)


def upload(emulator: Emulator, data: bytes, mime_type: str, **about: object) -> dict[str, str]:
    url = begin(emulator, mime_type, len(data), **about)
    reply = send(emulator, url, data, 0, "upload, finalize")
    assert reply.headers["x-goog-upload-status"] == "final"
    file: dict[str, str] = reply.json["file"]
    return file


def test_a_file_comes_up_in_pieces(gemini2_emulator: Emulator) -> None:
    url = begin(gemini2_emulator, "image/png", len(PNG), displayName="one pixel")
    first = send(gemini2_emulator, url, PNG[:20], 0, "upload")
    assert first.headers["x-goog-upload-status"] == "active"
    asked = send(gemini2_emulator, url, b"", 0, "query")
    assert asked.headers["x-goog-upload-size-received"] == "20"
    assert send(gemini2_emulator, url, PNG[20:], 5, "upload, finalize").status == 400
    file = send(gemini2_emulator, url, PNG[20:], 20, "upload, finalize").json["file"]
    assert file["displayName"] == "one pixel"
    assert file["mimeType"] == "image/png"
    assert file["sizeBytes"] == str(len(PNG))
    assert file["state"] == "ACTIVE"
    digest = hashlib.sha256(PNG).hexdigest()
    assert base64.b64decode(file["sha256Hash"]).decode() == digest
    assert call(gemini2_emulator, f"/v1beta/{file['name']}").json == file


def test_a_file_is_embedded_as_its_bytes(gemini2_emulator: Emulator) -> None:
    file = upload(gemini2_emulator, PNG, "image/png")
    inline = vector(gemini2_emulator, blob(PNG, "image/png"))
    for uri in (file["uri"], file["name"], f"{gemini2_emulator.base_url}/v1/{file['name']}"):
        part: dict[str, object] = {"fileData": {"fileUri": uri, "mimeType": "image/png"}}
        assert vector(gemini2_emulator, part) == inline


def test_a_deleted_file_is_403_like_any_unknown_one(gemini2_emulator: Emulator) -> None:
    name = upload(gemini2_emulator, PNG, "image/png")["name"]
    assert call(gemini2_emulator, f"/v1beta/{name}", method="DELETE").json == {}
    for path in (f"/v1beta/{name}", "/v1beta/files/never"):
        reply = call(gemini2_emulator, path)
        assert (reply.status, reply.error["status"]) == (403, "PERMISSION_DENIED")
    part: dict[str, object] = {"fileData": {"fileUri": name, "mimeType": "image/png"}}
    assert call(gemini2_emulator, EMBED, {"content": content(part)}).status == 403


def test_files_are_listed_by_page(gemini2_emulator: Emulator) -> None:
    assert call(gemini2_emulator, "/v1beta/files").json == {}
    names = {upload(gemini2_emulator, PNG, "image/png")["name"] for _ in range(3)}
    first = call(gemini2_emulator, "/v1beta/files?pageSize=2").json
    token = first["nextPageToken"]
    second = call(gemini2_emulator, f"/v1beta/files?pageSize=2&pageToken={token}").json
    assert {file["name"] for page in (first, second) for file in page["files"]} == names
    assert "nextPageToken" not in second


def test_what_was_uploaded_is_not_for_download(gemini2_emulator: Emulator) -> None:
    file = upload(gemini2_emulator, PNG, "image/png")
    assert "downloadUri" not in file
    assert call(gemini2_emulator, f"/v1beta/{file['name']}:download?alt=media").status == 400


def test_files_take_time_and_go(gemini2_emulator: Emulator) -> None:
    gemini2_emulator.configure(file_processing_seconds=100)
    name = upload(gemini2_emulator, PNG, "image/png")["name"]
    assert call(gemini2_emulator, f"/v1beta/{name}").json["state"] == "PROCESSING"
    gemini2_emulator.configure(file_processing_seconds=0, file_lifetime=0)
    assert call(gemini2_emulator, f"/v1beta/{name}").status == 403


@pytest.mark.parametrize("command", ["", "cancel"])
def test_other_commands_are_refused(gemini2_emulator: Emulator, command: str) -> None:
    url = begin(gemini2_emulator, "image/png", 3)
    assert send(gemini2_emulator, url, b"abc", 0, command).status == 400
