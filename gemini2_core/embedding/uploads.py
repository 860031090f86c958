"""Large media go through the Files API: uploaded once a run, deleted after it."""

from __future__ import annotations

import asyncio
import contextlib

from gemini2_core.content import Media
from gemini2_core.embedding.faults import Remedy, read_fault
from gemini2_core.embedding.transport import Transport, UploadedFile
from gemini2_core.errors import Gemini2Error, InvalidInputError, ServiceTimeoutError

__all__ = ["Uploads"]

_TRIES = 4
_PROCESSING_SECONDS = 120.0


class Uploads:
    """The files one run has put into the Files API; used on the engine's loop."""

    def __init__(self, transport: Transport, secret: str | None) -> None:
        self._transport = transport
        self._secret = secret
        self._files: dict[str, asyncio.Task[UploadedFile]] = {}

    async def uri(self, media: Media, data: bytes) -> str:
        """Where the service finds ``media``; equal media are uploaded once.

        Raises:
            ServiceError: The upload kept failing.
        """
        task = self._files.get(media.identity)
        if task is None:
            task = asyncio.ensure_future(self._upload(data, media.mime_type))
            self._files[media.identity] = task
        return (await asyncio.shield(task)).uri

    async def _upload(self, data: bytes, mime_type: str) -> UploadedFile:
        for attempt in range(1, _TRIES + 1):
            try:
                return await self._ready(await self._transport.upload(data, mime_type))
            except Exception as error:
                if isinstance(error, Gemini2Error):
                    raise
                fault = read_fault(error, self._secret)
                if fault.remedy in (Remedy.STOP, Remedy.NARROW) or attempt == _TRIES:
                    raise fault.error from error
                await asyncio.sleep(fault.wait or 0.5 * 2**attempt)
        raise AssertionError("unreachable")

    async def _ready(self, file: UploadedFile) -> UploadedFile:
        """Films are processed for a while before they can be used."""
        waited, pause = 0.0, 0.25
        while file.state == "PROCESSING":
            if waited > _PROCESSING_SECONDS:
                raise ServiceTimeoutError(f"the Files API is still processing {file.name}")
            await asyncio.sleep(pause)
            waited, pause = waited + pause, min(5.0, 2 * pause)
            file = await self._transport.file(file.name)
        if file.state == "FAILED":
            raise InvalidInputError("the Files API can't read this medium")
        return file

    async def clean_up(self) -> None:
        """Delete every file; one that can't be is left to the service, which does so in 48 h."""
        for task in self._files.values():
            task.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await self._transport.delete((await task).name)
        self._files.clear()
