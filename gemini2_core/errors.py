"""The one family of errors: each says what is wrong, with which input, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemini2_core.embedding.result import EmbeddingResult

__all__ = [
    "AuthenticationError",
    "BadResponseError",
    "ClosedError",
    "ConfigurationError",
    "DailyQuotaError",
    "Gemini2Error",
    "IndexLockedError",
    "IndexMismatchError",
    "IndexUnavailableError",
    "InvalidInputError",
    "LimitError",
    "MediaAccessError",
    "MediaNotFoundError",
    "MissingExtraError",
    "QuotaError",
    "ServiceError",
    "ServiceTimeoutError",
    "StateLockedError",
    "SwitchRefusedError",
]


class Gemini2Error(Exception):
    """Base of every error of this library.

    Attributes:
        index: Position of the offending input in the caller's list, or None
            if the error isn't about one input.
        partial: What was embedded before the error, or None if nothing was.
            Its ``indices`` say which inputs its rows belong to.
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.index = index
        self.partial: EmbeddingResult | None = None

    def __str__(self) -> str:
        return self.message

    def at(self, index: int) -> Gemini2Error:
        """Name the input this error is about, if it isn't named yet; return self."""
        if self.index is None:
            self.index = index
            self.message = f"input {index}: {self.message}"
        return self


class ConfigurationError(Gemini2Error, ValueError):
    """An argument of the embedder can't work: no key, unknown model, size out of range."""


class MissingExtraError(Gemini2Error, ImportError):
    """A feature needs an extra that isn't installed; the message names it."""

    def __init__(self, feature: str, *, extra: str, package: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}: pip install 'gemini2-embeddings[{extra}]'"
        )
        self.extra = extra
        self.name = package


class ClosedError(Gemini2Error, RuntimeError):
    """The embedder (or a client handed to it) was closed before this call."""


class InvalidInputError(Gemini2Error, ValueError):
    """An input can't be embedded; raised before anything is sent, or for the item a 400 names."""


class LimitError(InvalidInputError):
    """An input is beyond a limit of the model: too many images, pages, seconds, tokens, bytes."""


class MediaNotFoundError(InvalidInputError, FileNotFoundError):
    """A media reference names nothing that is there."""


class MediaAccessError(InvalidInputError, PermissionError):
    """A media reference leads where it mustn't: out of ``media_root``, to a private address."""


class ServiceError(Gemini2Error, RuntimeError):
    """The service refused or failed.

    Attributes:
        code: HTTP status, or None if no answer came.
        status: The service's own word for it (``"RESOURCE_EXHAUSTED"``), or "".
    """

    def __init__(
        self,
        message: str,
        *,
        index: int | None = None,
        code: int | None = None,
        status: str = "",
    ) -> None:
        super().__init__(message, index=index)
        self.code = code
        self.status = status


class AuthenticationError(ServiceError, PermissionError):
    """The key or the credentials were refused (a bad key is a 400 ``API_KEY_INVALID``)."""


class QuotaError(ServiceError):
    """A quota is used up and waiting within the budget didn't help."""


class DailyQuotaError(QuotaError):
    """The day's quota is used up: waiting doesn't help before it's renewed."""


class ServiceTimeoutError(ServiceError, TimeoutError):
    """The service didn't answer, or kept failing, until the retry budget ran out."""


class BadResponseError(ServiceError):
    """The answer has not one full vector for each input."""


class IndexMismatchError(ConfigurationError):
    """A collection holds other vectors than it was opened for; the message says which is which."""


class IndexUnavailableError(ServiceError):
    """The vector database didn't answer, refused or failed.

    Attributes:
        stored: Ids of the call's points that were acknowledged before the error. Adding all of
            them again is harmless: the same id is the same point.
    """

    stored: tuple[int | str, ...] = ()


class SwitchRefusedError(Gemini2Error, RuntimeError):
    """An alias names what it named: the other collection isn't whole, or nobody has seen it is."""


class IndexLockedError(Gemini2Error, RuntimeError):
    """Another process, or another object of this one, has the collection's folder open."""


class StateLockedError(Gemini2Error, RuntimeError):
    """Another process, or another object of this one, is working on a batch run's state file."""
