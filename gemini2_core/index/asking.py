"""What a chat model may ask of a collection: a schema, and the search its arguments stand for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from gemini2_core.content import Media, parse_fragment, resolve_path
from gemini2_core.errors import ConfigurationError, InvalidInputError
from gemini2_core.index.filters import FilterLike, JsonFilter, read_filter
from gemini2_core.index.modalities import modality_filter
from gemini2_core.model import Modality

__all__ = ["DESCRIPTION", "MODALITIES", "Asked", "Asking", "FieldLike", "FilterField"]

#: What a chat model is told that the search is for, if the developer says nothing better.
DESCRIPTION = (
    "Search the indexed documents. Text, pictures, sound, film and PDF pages are in one index, "
    "and what is found is returned with its media."
)
#: What may be asked for: ``"text"``, ``"image"``, ``"audio"``, ``"video"``, ``"document"``.
MODALITIES = tuple(modality.lower() for modality in Modality)

_KINDS = {str: "text", int: "integer", float: "number", bool: "true or false", date: "date"}
#: Names that would be read as a filter of Qdrant's own.
_RESERVED = frozenset({"must", "should", "must_not", "min_should"})


def _in_64_bits(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise ValueError("a number of 64 bits is wanted")
    return number


#: Numbers that every engine and JSON take. Bounds would stand in the schema, where not every
#: service reads them.
_NUMBERS: Mapping[type, Any] = {
    int: Annotated[int, AfterValidator(_in_64_bits)],
    float: Annotated[float, Field(allow_inf_nan=False)],
}


@dataclass(frozen=True, slots=True)
class FilterField:
    """A field of the metadata that a chat model may filter by.

    Attributes:
        kind: ``str``, ``int``, ``float``, ``bool``, or ``date`` for dates in ISO form. Texts may
            be a list, which is any of them; numbers and dates may be a range.
        values: The only values allowed, if not empty; told to the model.
        description: What the field means, for the model.
    """

    kind: type[str] | type[int] | type[float] | type[bool] | type[date] = str
    values: tuple[str | int, ...] = ()
    description: str = ""


#: A field in short: its type, or the values that it may have.
FieldLike: TypeAlias = FilterField | type | Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Asked:
    """One search, as a chat model asked for it.

    Attributes:
        query: The words.
        k: How many results.
        fields: Conditions on the metadata, as ``read_filter`` takes them.
        modality: What every result must hold, or None.
        file: The file to search with, as the model named it, or None.
        root: The folder that the file must lie in, or None.
    """

    query: str
    k: int
    fields: Mapping[str, object]
    modality: str | None = None
    file: str | None = None
    root: Path | None = None

    def content(self) -> str | list[str | Media]:
        """What is embedded: the words, the file, or both together.

        Raises:
            InvalidInputError: It doesn't, isn't there, or is nothing that can be embedded.
        """
        if self.file is None:
            return self.query
        if self.root is None:
            raise InvalidInputError("this search takes words, not files")
        path = resolve_path(self.file, self.root)
        medium = Media.from_path(path, fragment=parse_fragment(self.file.partition("#")[2]))
        return [self.query, medium] if self.query else [medium]

    def filter(self, always: FilterLike | None, *, prefix: str = "") -> JsonFilter | None:
        """What was asked for and what always holds, as one filter in Qdrant's form.

        Args:
            always: The developer's own filter; nothing that a model asks for gets around it.
            prefix: Path of the metadata in the payload.
        """
        modality = None if self.modality is None else modality_filter(self.modality)
        parts = (
            read_filter(always, prefix=prefix),
            read_filter(self.fields, prefix=prefix),
            modality,
        )
        found = [one for one in parts if one is not None]
        return {"must": found} if len(found) > 1 else found[0] if found else None


class Asking:
    """What may be asked for, as a schema, and how arguments are read.

    Args:
        fields: The fields of the metadata that may be filtered by; nothing else can be.
        modalities: The modalities that may be asked for; () for none.
        k: How many results if the model doesn't say.
        max_k: How many it may ask for.
        query_root: The folder with files that it may search with; None for none.

    Raises:
        ConfigurationError: A field or modality that can't be, ``k`` out of range, no such folder.
    """

    def __init__(
        self,
        *,
        fields: Mapping[str, FieldLike] | None = None,
        modalities: Sequence[str] = MODALITIES,
        k: int = 4,
        max_k: int = 10,
        query_root: str | os.PathLike[str] | None = None,
    ) -> None:
        if fields is not None and not isinstance(fields, Mapping):
            raise ConfigurationError(
                f"fields= is a mapping, such as {{'page': int}}, not {fields!r}"
            )
        if isinstance(modalities, str):
            raise ConfigurationError(f"modalities= is a list, such as [{modalities!r}]")
        if not 1 <= k <= max_k:
            raise ConfigurationError(f"k={k} must be from 1 to max_k={max_k}")
        if strange := set(modalities) - set(MODALITIES):
            raise ConfigurationError(
                f"there is no modality {', '.join(map(repr, sorted(strange)))}; "
                f"there are {', '.join(MODALITIES)}"
            )
        self._root = None if query_root is None else Path(query_root)
        if self._root is not None and not self._root.is_dir():
            raise ConfigurationError(f"query_root={str(query_root)!r} is no folder")
        self._k = k
        self._fields = {name: _field(name, given) for name, given in (fields or {}).items()}
        self.schema: type[BaseModel] = _schema(
            self._fields, modalities, k, max_k, files=self._root is not None
        )

    def read(self, arguments: Mapping[str, object]) -> Asked:
        """The search that a model's arguments stand for.

        Raises:
            InvalidInputError: They aren't what the schema says; the message is for the model.
        """
        try:
            given = self.schema.model_validate(dict(arguments))
        except ValidationError as error:
            raise InvalidInputError(self.refusal(error)) from None
        read: dict[str, Any] = given.model_dump(by_alias=True, exclude_unset=True, mode="json")
        if not read.get("query") and not read.get("file"):
            wanted = "query or file" if "file" in self.schema.model_fields else "query"
            raise InvalidInputError(f"{wanted} must say what to look for.")
        return Asked(
            query=read.get("query") or "",
            k=read.get("k", self._k),
            fields=read.get("filters") or {},
            modality=read.get("modality"),
            file=read.get("file"),
            root=self._root,
        )

    def refusal(self, error: ValidationError) -> str:
        """What was wrong with the arguments, in words that a model can act on."""
        wrong: dict[str, list[str]] = {}
        for one in error.errors(include_url=False, include_input=False):
            depth = 2 if one["loc"][:1] == ("filters",) else 1
            where = ".".join(map(str, one["loc"][:depth])) or "the arguments"
            said = "there is no such argument" if one["type"] == "extra_forbidden" else one["msg"]
            wrong.setdefault(where, []).append(said)
        told = "; ".join(f"{where}: {' / '.join(said)}" for where, said in wrong.items())
        known = "; ".join(f"{name} ({_told(field)})" for name, field in self._fields.items())
        hint = f" Fields to filter by: {known or 'none'}." if "filters" in told else ""
        return f"the arguments were wrong. {told}.{hint} Try again."


class _Sparing(BaseModel):
    """Arguments of which only those given count; null is one that isn't given."""

    model_config = ConfigDict(extra="forbid", title=None)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: object) -> object:
        if isinstance(given, Mapping):
            return {name: value for name, value in given.items() if value is not None}
        return given


def _field(name: object, given: object) -> FilterField:
    if not isinstance(name, str) or not name or name.startswith("$") or name in _RESERVED:
        raise ConfigurationError(f"a field to filter by can't be called {name!r}")
    if isinstance(given, FilterField):
        field = given
    elif isinstance(given, type):
        field = FilterField(given)
    elif isinstance(given, str | bytes) or not isinstance(given, Sequence) or not given:
        raise ConfigurationError(f"field {name!r}: a type or a list of values, not {given!r}")
    else:
        field = FilterField(type(given[0]), tuple(given))
    if field.kind not in _KINDS:
        kinds = ", ".join(kind.__name__ for kind in _KINDS)
        raise ConfigurationError(f"field {name!r}: {field.kind!r} isn't one of {kinds}")
    if any(type(value) is not field.kind for value in field.values):
        raise ConfigurationError(f"field {name!r}: its values aren't all {field.kind.__name__}")
    return field


def _told(field: FilterField) -> str:
    if field.values:
        return f"one of {', '.join(map(repr, field.values))}"
    kind = _KINDS[field.kind]
    if field.kind is date:
        return "a range of dates, gte/gt/lte/lt"
    return f"{kind}, or a range gte/gt/lte/lt" if field.kind in (int, float) else kind


def _schema(
    fields: Mapping[str, FilterField],
    modalities: Sequence[str],
    k: int,
    max_k: int,
    *,
    files: bool,
) -> type[BaseModel]:
    """The arguments as a model of pydantic's, from which both frameworks make JSON schema."""
    words = "What to look for, in words."
    parts: dict[str, Any] = {}
    if files:
        words += " May be left out where a file is given."
        parts["query"] = (str, _given(words))
        told = "Path of a picture, sound, film or PDF to search with, as it was told to you."
        parts["file"] = (str, _given(told))
    else:
        parts["query"] = (str, Field(description=words))
    if fields:
        parts["filters"] = (_filters(fields), _given("Only results whose metadata match."))
    if modalities:
        choice = Literal[tuple(modalities)]  # type: ignore[valid-type]  # known at run time
        parts["modality"] = (choice, _given("Only results that hold such a medium."))
    parts["k"] = (
        Annotated[int, Field(ge=1, le=max_k)],
        _given(f"How many results, 1 to {max_k}; {k} if left out."),
    )
    return create_model("Search", __base__=_Sparing, **parts)


def _filters(fields: Mapping[str, FilterField]) -> type[BaseModel]:
    parts: dict[str, Any] = {}
    for at, (name, field) in enumerate(fields.items()):
        # A name of the metadata needn't be one of Python's.
        parts[f"field_{at}"] = (_type(field), _given(field.description, alias=name))
    return create_model("Filters", __base__=_Sparing, **parts)


def _type(field: FilterField) -> Any:
    if field.values:
        choice: Any = Literal[field.values]
        return choice | list[choice]
    if field.kind is str:
        return str | list[str]
    if field.kind is bool:
        return bool
    kind = _NUMBERS.get(field.kind, field.kind)
    bound = (kind, _given(""))
    name = f"{_KINDS[field.kind].title()}Range"
    ranged = create_model(name, __base__=_Sparing, gte=bound, gt=bound, lte=bound, lt=bound)
    return ranged if field.kind is date else kind | ranged


def _given(description: str, *, alias: str | None = None) -> Any:
    """An argument that may be left out, without a null among its types.

    Its default stands in the schema all the same: langchain-google-genai takes the properties of
    an inner object that have none for required ones.
    """
    return Field(default=None, description=description or None, alias=alias)
