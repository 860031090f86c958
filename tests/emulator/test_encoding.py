"""Encoded vectors: shortest float32 decimals, and gzip from parts that were deflated apart."""

from __future__ import annotations

import gzip
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gemini2_core.emulator import Emulator
from gemini2_core.emulator.encoding import Encoded, EncodedCache, encode, gzip_body, plain_body
from tests.emulator.talk import BATCH, batch, call


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=6))
def test_pieces_deflated_apart_join_into_one_gzip_member(pieces: list[tuple[bytes, bool]]) -> None:
    made = [Encoded(data).deflate() if apart else data for data, apart in pieces]
    whole = b"".join(data for data, _ in pieces)
    assert gzip.decompress(gzip_body(made)) == whole
    assert plain_body(made) == whole


def test_pieces_beyond_a_stored_block_join_too() -> None:
    large = bytes(range(256)) * 1000
    assert gzip.decompress(gzip_body([large, Encoded(large), large])) == large * 3


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_come_back_as_the_same_float32(numbers: list[float]) -> None:
    vector = np.array(numbers, dtype=np.float32)
    for pretty in (False, True):
        text = encode(vector, pretty=pretty).text()
        again = np.array(json.loads(text)["values"], dtype=np.float32)
        assert again.tobytes() == vector.tobytes() or (again == vector).all()


def test_numbers_are_the_shortest_decimals() -> None:
    vector = np.array([-0.00495582, -6.5648584e-07, 0.020143822], dtype=np.float32)
    assert (
        encode(vector, pretty=False).text() == b'{"values":[-0.00495582,-6.5648584e-7,0.020143822]}'
    )


def test_the_cache_keeps_to_its_budget_and_to_the_newest() -> None:
    cache = EncodedCache(3000)
    for number in range(10):
        cache.put(number, Encoded(b"x" * 800))
    assert [number for number in range(10) if cache.get(number)] == [7, 8, 9]


def test_answers_are_printed_with_indents_unless_told_not_to(gemini2_emulator: Emulator) -> None:
    body = batch("a", "b")
    pretty = call(gemini2_emulator, BATCH, body)
    assert pretty.raw.startswith(b'{\n  "embeddings": [\n    {\n      "values": [\n        ')
    compact = call(gemini2_emulator, f"{BATCH}?prettyPrint=false", body)
    assert compact.raw.startswith(b'{"embeddings":[{"values":[')
    assert compact.json == pretty.json
    gemini2_emulator.configure(pretty=False)
    assert call(gemini2_emulator, BATCH, body).raw == compact.raw


def test_gzip_is_for_those_who_ask(gemini2_emulator: Emulator) -> None:
    body, ask = batch(*"abc"), {"accept-encoding": "gzip, deflate"}
    plain, packed = (call(gemini2_emulator, BATCH, body, headers=h) for h in ({}, ask))
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.raw == plain.raw
    gemini2_emulator.configure(gzip=False)
    assert "content-encoding" not in call(gemini2_emulator, BATCH, body, headers=ask).headers
