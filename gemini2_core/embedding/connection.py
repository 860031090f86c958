"""Where the service is and who asks: from arguments and environment to the SDK's client."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemini2_core.errors import ConfigurationError
from gemini2_core.model import VERTEX_LOCATIONS, Backend

if TYPE_CHECKING:
    import aiohttp
    from google.auth.credentials import Credentials
    from google.genai import Client
    from google.genai.types import HttpOptions

__all__ = ["Connection"]

_ASYNC_CLIENTS = {"aiohttp_client", "httpx_async_client"}
_SYNC_CLIENTS = {"client_args", "httpx_client"}


def _given(options: HttpOptions | Mapping[str, object] | None) -> set[str]:
    """Names of the options that are set."""
    if options is None:
        return set()
    known = options.items() if isinstance(options, Mapping) else iter(options)
    return {name for name, value in known if value}


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the service is and who asks; what ``google.genai.Client`` is built from.

    Attributes:
        api_key: Key of the Gemini API (or of Vertex in express mode), or None.
        base_url: Another server, such as the emulator; None for Google's.
        backend: Gemini API or Vertex.
        project: Google Cloud project (Vertex).
        location: ``global``, ``us`` or ``eu`` (Vertex).
        credentials: google-auth credentials (Vertex); None for the environment's own.
        http_options: Further options of google-genai, ours to complete.
        timeout: Seconds for one request.
    """

    api_key: str | None = None
    base_url: str | None = None
    backend: Backend = Backend.GEMINI_API
    project: str | None = None
    location: str | None = None
    credentials: Credentials | None = None
    http_options: HttpOptions | Mapping[str, object] | None = None
    timeout: float = 60.0

    def __repr__(self) -> str:
        return f"Connection({self.backend.value}, base_url={self.base_url!r})"

    @classmethod
    def resolve(
        cls,
        *,
        api_key: str | None,
        base_url: str | None,
        vertexai: bool | None,
        project: str | None,
        location: str | None,
        credentials: Credentials | None,
        http_options: HttpOptions | Mapping[str, object] | None,
        timeout: float,
    ) -> Connection:
        """Complete the arguments from the environment, as google-genai would.

        Raises:
            ConfigurationError: No key (Gemini API), no project (Vertex), a bad timeout.
        """
        given = _given(http_options)
        if given & _ASYNC_CLIENTS and not given & _SYNC_CLIENTS:
            warnings.warn(
                f"http_options' {', '.join(sorted(given & _ASYNC_CLIENTS))} isn't used: it is tied "
                "to a loop of yours. Pass httpx_client or client_args, or leave it out",
                UserWarning,
                stacklevel=3,
            )
        if timeout <= 0:
            raise ConfigurationError(f"timeout={timeout} must be positive seconds")
        env = os.environ.get
        if vertexai is None:
            flags = (env("GOOGLE_GENAI_USE_VERTEXAI"), env("GOOGLE_GENAI_USE_ENTERPRISE"))
            vertexai = any((flag or "").lower() in ("1", "true") for flag in flags)
        if not vertexai:
            api_key = api_key or env("GOOGLE_API_KEY") or env("GEMINI_API_KEY")
            if not api_key:
                raise ConfigurationError(
                    "no API key: pass api_key= or set GEMINI_API_KEY (or vertexai=True with a "
                    "project). Without a key, `gemini2 emulator` and base_url= let you try things"
                )
            return cls(
                api_key=api_key,
                base_url=base_url or env("GOOGLE_GEMINI_BASE_URL"),
                http_options=http_options,
                timeout=timeout,
            )
        project = project or env("GOOGLE_CLOUD_PROJECT")
        location = location or env("GOOGLE_CLOUD_LOCATION") or VERTEX_LOCATIONS[0]
        if not project and not api_key:
            raise ConfigurationError(
                "Vertex needs a project: pass project= or set GOOGLE_CLOUD_PROJECT"
            )
        if location not in VERTEX_LOCATIONS:
            raise ConfigurationError(
                f"location={location!r}: Vertex serves Gemini embeddings in "
                f"{', '.join(VERTEX_LOCATIONS)} only"
            )
        return cls(
            api_key=None if project else api_key,
            base_url=base_url or env("GOOGLE_VERTEX_BASE_URL"),
            backend=Backend.VERTEX,
            project=project,
            location=location if project else None,
            credentials=credentials,
            http_options=http_options,
            timeout=timeout,
        )

    def brings_http_client(self) -> bool:
        """True if ``http_options`` hold an HTTP client, or arguments of one, of the caller's."""
        return bool((_ASYNC_CLIENTS | _SYNC_CLIENTS) & _given(self.http_options))

    def client(self, session: aiohttp.ClientSession | None) -> Client:
        """The SDK's client, on ``session`` if there is one."""
        from google.genai import Client
        from google.genai.types import HttpOptions

        given = self.http_options
        if isinstance(given, HttpOptions):
            options = given.model_copy()
        else:
            options = HttpOptions.model_validate(given or {})
        if self.base_url:
            options.base_url = self.base_url
        if options.api_version is None and self.backend is Backend.GEMINI_API:
            # google-genai 3.x would call /v1, which has no file references.
            options.api_version = "v1beta"
        if options.timeout is None:
            options.timeout = int(self.timeout * 1000)
        if session is not None:
            options.aiohttp_client = session
        if self.backend is Backend.GEMINI_API:
            return Client(api_key=self.api_key, vertexai=False, http_options=options)
        return Client(
            vertexai=True,
            api_key=self.api_key,
            project=self.project,
            location=self.location,
            credentials=self.credentials,
            http_options=options,
        )
