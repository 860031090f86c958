"""Lines of a job: requests as the API has them, results in every form that was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemini2_core.content import Media
from gemini2_core.embedding.batch.lines import (
    item_of,
    make_line,
    read_result,
    request_line,
    tokens_billed,
)
from gemini2_core.embedding.plan import Item
from gemini2_core.errors import BadResponseError, InvalidInputError, ServiceError
from gemini2_core.model import Modality, Prompt

SPACE = "gemini-embedding-2"
VALUES = [0.5, -0.25, 1e-7]


def test_a_request_is_as_the_documentation_has_it() -> None:
    line = make_line(Item(("a text",), Prompt()), SPACE, 768)
    assert orjson.loads(request_line(7, line.body, {}, {})) == {
        "key": "7",
        "request": {"output_dimensionality": 768, "content": {"parts": [{"text": "a text"}]}},
    }
    older = make_line(Item(("t",), Prompt("", "RETRIEVAL_DOCUMENT", "A title")), SPACE, 768)
    request = orjson.loads(older.body)
    assert (request["task_type"], request["title"]) == ("RETRIEVAL_DOCUMENT", "A title")


def test_lines_are_equal_if_their_requests_are(picture: Path) -> None:
    medium = Media.from_path(picture)
    same = Media.from_bytes(picture.read_bytes())
    lines = [
        make_line(Item(parts, Prompt()), SPACE, 768).digest
        for parts in (("a", medium), ("a", same), ("a",), (medium, "a"))
    ]
    assert lines[0] == lines[1]
    assert len(set(lines)) == 3
    one, other = (Media.from_uri(f"gs://b/{name}.png") for name in "ab")
    assert make_line(Item((one,), Prompt()), SPACE, 768).digest != (
        make_line(Item((other,), Prompt()), SPACE, 768).digest
    )


def test_a_medium_that_is_gone_is_an_error(picture: Path) -> None:
    item = Item((Media.from_path(picture),), Prompt())
    picture.unlink()
    with pytest.raises(InvalidInputError):
        make_line(item, SPACE, 768)


@settings(max_examples=40)
@given(
    st.lists(st.text(min_size=1).filter(lambda t: t.isprintable()), min_size=1, max_size=4),
    st.sampled_from([None, "RETRIEVAL_QUERY"]),
    st.sampled_from([None, "A title"]),
)
def test_a_kept_request_gives_its_item_back(
    texts: list[str], field: str | None, title: str | None
) -> None:
    item = Item(tuple(texts), Prompt("", field, title))
    line = make_line(item, SPACE, 768)
    assert item_of(line.body, line.media).identity == item.identity
    again = make_line(item_of(line.body, line.media), SPACE, 768)
    assert (again.digest, again.body) == (line.digest, line.body)


@pytest.mark.parametrize(
    ("response", "tokens"),
    [
        ({"tokenCount": "12"}, 12),
        ({"tokenCount": 12}, 12),
        ({"usageMetadata": {"promptTokenCount": 12}}, 12),
        (
            {
                "usageMetadata": {
                    "promptTokenCount": 270,
                    "promptTokenDetails": [
                        {"modality": "TEXT", "tokenCount": 12},
                        {"modality": "IMAGE", "tokenCount": "258"},
                    ],
                }
            },
            {Modality.TEXT: 12, Modality.IMAGE: 258},
        ),
        ({}, None),
    ],
)
def test_tokens_come_in_several_forms(response: dict[str, Any], tokens: object) -> None:
    line = {"key": "7", "response": {**response, "embedding": {"values": VALUES}}}
    result = read_result(orjson.dumps(line), 3)
    assert result.error is None
    assert result.row is not None
    assert (result.key, result.tokens) == (7, tokens)
    assert result.row.tolist() == np.array(VALUES, np.float32).tolist()


@pytest.mark.parametrize(
    ("line", "kind", "permanent"),
    [
        ({"key": "7", "error": {"code": 13, "message": "m"}}, ServiceError, False),
        ({"key": "7", "response": {"error": {"code": 8, "message": "m"}}}, ServiceError, False),
        ({"key": "7", "error": {"code": 3, "message": "m"}}, InvalidInputError, True),
        ({"key": "7", "error": {"code": 400, "message": "m"}}, InvalidInputError, True),
        ({"key": "7", "error": {"status": "INVALID_ARGUMENT"}}, InvalidInputError, True),
        ({"key": "7", "error": "a word"}, ServiceError, False),
        ({"key": "7", "response": {"embedding": {}}}, BadResponseError, False),
        ({"key": "7", "response": {"embedding": {"values": [1.0]}}}, BadResponseError, False),
        ({"metadata": {"key": "7"}, "response": {}}, BadResponseError, False),
    ],
)
def test_errors_come_in_several_forms(
    line: dict[str, Any], kind: type[Exception], permanent: bool
) -> None:
    result = read_result(orjson.dumps(line), 3)
    assert result.row is None
    assert result.key == 7
    assert type(result.error) is kind
    assert result.permanent is permanent


@pytest.mark.parametrize("line", [b"{", b"[]", b'"x"', b'{"key": "7", "response": {"embedding'])
def test_a_line_that_cannot_be_read_is_an_error_of_no_line(line: bytes) -> None:
    result = read_result(line, 3)
    assert result.row is None
    assert result.key is None
    assert isinstance(result.error, BadResponseError)


KINDS = st.sampled_from(list(Modality))


@settings(max_examples=60)
@given(st.dictionaries(KINDS, st.integers(1, 10_000)), st.integers(0, 50_000))
def test_a_bare_number_of_tokens_is_shared_out_to_the_last(
    estimate: dict[Modality, int], counted: int
) -> None:
    billed, guessed = tokens_billed(estimate, counted)
    assert sum(billed.values()) == counted
    assert min(billed.values(), default=0) >= 0
    assert guessed == 0


def test_tokens_that_nobody_counted_are_our_estimate() -> None:
    estimate = {Modality.TEXT: 5, Modality.IMAGE: 258}
    assert tokens_billed(estimate, None) == (estimate, 263)
    assert tokens_billed(estimate, 263) == (estimate, 0)
