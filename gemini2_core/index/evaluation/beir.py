"""BEIR's files: documents and queries as lines of JSON, judgements as a table, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gemini2_core.content.lines import Lines, json_lines
from gemini2_core.errors import InvalidInputError

__all__ = ["BeirCorpus", "Document", "Qrels", "read_corpus", "read_qrels", "read_queries"]

Qrels = dict[str, dict[str, int]]
"""Grade by document id by query id; 0 and below means judged as of no use."""

_QREL_COLUMNS = (3, 4)
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Document:
    """One line of a corpus.

    Attributes:
        id: ``_id`` of the line.
        text: What is embedded.
        title: Told to the model with it; "" for none.
    """

    id: str
    text: str
    title: str = ""


class BeirCorpus:
    """The documents of a ``corpus.jsonl``, read line by line each time they are asked for.

    Args:
        path: Lines of ``{"_id": …, "title": …, "text": …}``; gzipped or not.

    Raises:
        InvalidInputError: No such file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _file(path)

    def __iter__(self) -> Iterator[Document]:
        """The documents in the file's order.

        Raises:
            InvalidInputError: A line that isn't one; the message names file and line.
        """
        return read_corpus(self.path)

    def __repr__(self) -> str:
        return f"BeirCorpus({str(self.path)!r})"


def read_corpus(path: str | Path) -> Iterator[Document]:
    """Each document of a ``corpus.jsonl``; an id that comes again is an error.

    Raises:
        InvalidInputError: No such file, or a line that isn't a document; the message names
            file and line.
    """
    for identity, row, where in _objects(_file(path)):
        title = row.get("title")
        if title is not None and not isinstance(title, str):
            raise InvalidInputError(f"{where}: 'title' is a string, not {type(title).__name__}")
        yield Document(identity, _text(row, where), title or "")


def read_queries(path: str | Path) -> dict[str, str]:
    """Text by id of a ``queries.jsonl``.

    Raises:
        InvalidInputError: No such file, or a line that isn't a query; the message names file
            and line.
    """
    found = {identity: _text(row, where) for identity, row, where in _objects(_file(path))}
    if not found:
        raise InvalidInputError(f"{path}: no queries in it")
    return found


def read_qrels(path: str | Path) -> Qrels:
    """Judgements of a ``qrels.tsv``, with a line of column names or without.

    Both forms are read: BEIR's ``query, document, grade`` and TREC's ``query, 0, document,
    grade``, between tabs or blanks.

    Raises:
        InvalidInputError: No such file, or a line that isn't a judgement, or contradicts an
            earlier one; the message names file and line.
    """
    place = _file(path)
    found: Qrels = {}
    first = True
    for line, where in _lines(place):
        fields = line.split("\t") if "\t" in line else line.split()
        grade = _grade(fields)
        if grade is None:
            if first and len(fields) in _QREL_COLUMNS and not _is_number(fields[-1]):
                # The names of the columns.
                first = False
                continue
            raise InvalidInputError(
                f"{where}: a judgement is 'query-id, corpus-id, score' between tabs, with a whole "
                f"number for a score, not {line[:_SHOWN]!r}"
            )
        first = False
        query, document = fields[0].strip(), fields[-2].strip()
        earlier = found.setdefault(query, {}).setdefault(document, grade)
        if earlier != grade:
            raise InvalidInputError(
                f"{where}: {document!r} is judged {grade} for query {query!r}, and {earlier} "
                "further up"
            )
    if not found:
        raise InvalidInputError(f"{path}: no judgements in it")
    return found


def _grade(fields: list[str]) -> int | None:
    if len(fields) not in _QREL_COLUMNS or not all(field.strip() for field in fields):
        return None
    try:
        return int(fields[-1])
    except ValueError:
        return None


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _text(row: Mapping[str, object], where: str) -> str:
    text = row.get("text")
    if not isinstance(text, str):
        raise InvalidInputError(f"{where}: 'text' is a string, not {type(text).__name__}")
    return text


def _objects(path: Path) -> Iterator[tuple[str, Mapping[str, object], str]]:
    """Id, object and place of each line of JSON."""
    seen: set[str] = set()
    for number, row in json_lines(path):
        where = f"{path}:{number}"
        if isinstance(row, str):
            raise InvalidInputError(f"{where}: {row}")
        own = row.get("_id")
        if isinstance(own, bool) or not isinstance(own, str | int) or own == "":
            raise InvalidInputError(f"{where}: '_id' is a string with something in it, not {own!r}")
        identity = str(own)
        if identity in seen:
            raise InvalidInputError(f"{where}: the id {identity!r} stands further up already")
        seen.add(identity)
        yield identity, row, where


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line that isn't blank, and where it is."""
    with Lines(path) as lines:
        try:
            for line in lines:
                if line.strip():
                    yield line.rstrip("\r\n"), f"{path}:{lines.number}"
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}:{lines.number}: {error}") from None


def _file(path: str | Path) -> Path:
    if not isinstance(path, str | Path):
        raise InvalidInputError(f"a path is wanted, not {type(path).__name__}")
    place = Path(path).expanduser()
    if not place.is_file():
        raise InvalidInputError(f"no file {str(path)!r}")
    return place
