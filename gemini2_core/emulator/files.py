"""The Files API's store: resumable uploads, and the files that batch jobs write."""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from gemini2_core.emulator.reading import as_mapping
from gemini2_core.emulator.refusals import invalid, no_such_file
from gemini2_core.emulator.settings import Settings
from gemini2_core.model import MAX_FILE_BYTES

__all__ = ["FileStore", "StoredFile", "Upload", "identifier", "timestamp"]


def timestamp(seconds: float) -> str:
    """Unix seconds as the service writes times."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def identifier(kind: str, number: int) -> str:
    """A name like the service's: 12 small letters and digits, the same in every run."""
    digest = hashlib.sha256(f"{kind}{number}".encode()).digest()
    return base64.b32encode(digest).decode().lower()[:12]


@dataclass(slots=True)
class StoredFile:
    """One file.

    Attributes:
        name: ``files/…``.
        data: Its bytes.
        mime_type: As told at the upload.
        display_name: Likewise; "" for none.
        created: Unix seconds.
        generated: Written by a batch job, so that it can be downloaded.
    """

    name: str
    data: bytes
    mime_type: str
    display_name: str
    created: float
    generated: bool = False

    def resource(self, base: str, settings: Settings) -> dict[str, object]:
        """The JSON form; ``base`` is this server's root with the version."""
        ready = self.created + (0 if self.generated else settings.file_processing_seconds)
        digest = hashlib.sha256(self.data).hexdigest()
        form: dict[str, object] = {"name": self.name}
        if self.display_name:
            form["displayName"] = self.display_name
        form |= {
            "mimeType": self.mime_type,
            "sizeBytes": str(len(self.data)),
            "createTime": timestamp(self.created),
            "updateTime": timestamp(ready),
            "expirationTime": timestamp(self.created + settings.file_lifetime),
            # The service encodes the hexadecimal digits, not the bytes.
            "sha256Hash": base64.b64encode(digest.encode()).decode(),
            # What the service gives, so that clients tell it from a link to anywhere else.
            "uri": f"https://generativelanguage.googleapis.com/v1beta/{self.name}",
            "state": "ACTIVE" if time.time() >= ready else "PROCESSING",
            "source": "GENERATED" if self.generated else "UPLOADED",
        }
        if self.generated:
            form["downloadUri"] = f"{base}/{self.name}:download?alt=media"
        return form


@dataclass(slots=True)
class Upload:
    """A resumable upload under way."""

    name: str
    mime_type: str
    display_name: str
    data: bytearray = field(default_factory=bytearray)
    file: StoredFile | None = None


@dataclass(slots=True)
class FileStore:
    """All files and uploads of a server."""

    _files: dict[str, StoredFile] = field(default_factory=dict)
    _uploads: dict[str, Upload] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, metadata: Mapping[str, object], headers: Mapping[str, str]) -> str:
        """Start an upload and return its id."""
        about = as_mapping(metadata.get("file"))
        number = next(self._numbers)
        size = headers.get("x-goog-upload-header-content-length", "0")
        if size.isdecimal() and int(size) > MAX_FILE_BYTES:
            raise invalid(f"File is too large: at most {MAX_FILE_BYTES} bytes")
        name = str(about.get("name") or f"files/{identifier('file', number)}")
        if name in self._files:
            raise invalid(f"File {name} already exists.")
        kind = headers.get("x-goog-upload-header-content-type") or str(about.get("mimeType") or "")
        key = identifier("upload", number)
        with self._lock:
            self._uploads[key] = Upload(
                name if name.startswith("files/") else f"files/{name}",
                kind or "application/octet-stream",
                str(about.get("displayName") or ""),
            )
        return key

    def receive(self, key: str, offset: int, chunk: bytes, *, final: bool) -> Upload:
        """Take a chunk; the last one makes the file.

        Raises:
            Refusal: No such upload, or a chunk that doesn't follow the last one.
        """
        upload = self._uploads.get(key)
        if upload is None:
            raise no_such_file(key)
        if upload.file is None:
            if offset != len(upload.data):
                raise invalid(f"Upload offset {offset} is not {len(upload.data)}")
            upload.data += chunk
            if final:
                upload.file = self.put(
                    upload.name, bytes(upload.data), upload.mime_type, upload.display_name
                )
        return upload

    def received(self, key: str) -> Upload:
        """An upload, to ask how far it got."""
        upload = self._uploads.get(key)
        if upload is None:
            raise no_such_file(key)
        return upload

    def put(
        self, name: str, data: bytes, mime_type: str, display_name: str, *, generated: bool = False
    ) -> StoredFile:
        """Keep a file."""
        file = StoredFile(name, data, mime_type, display_name, time.time(), generated)
        with self._lock:
            self._files[name] = file
        return file

    def get(self, name: str, settings: Settings) -> StoredFile:
        """A file by ``files/…`` or by its whole URI.

        Raises:
            Refusal: 403, not there or expired.
        """
        path = urlsplit(name).path
        name = "files/" + path.rpartition("files/")[2].partition(":")[0]
        file = self._files.get(name)
        if file is None or time.time() > file.created + settings.file_lifetime:
            raise no_such_file(name)
        return file

    def delete(self, name: str, settings: Settings) -> None:
        """Forget a file."""
        file = self.get(name, settings)
        with self._lock:
            self._files.pop(file.name, None)

    def all(self) -> list[StoredFile]:
        """Every file, the newest first."""
        return sorted(self._files.values(), key=lambda file: -file.created)

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._files.clear()
            self._uploads.clear()
