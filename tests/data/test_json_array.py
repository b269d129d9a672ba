"""JSON arrays, read an element at a time: as `json` reads them whole, wherever the blocks of the file end."""

from __future__ import annotations

import io
import json
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxygold.data import json_array
from proxygold.data.json_array import array_elements

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Trickle(io.BytesIO):
    """Gives so many bytes at a time, however many are asked for."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(data)
        self.size = size

    def read(self, asked: int | None = -1, /) -> bytes:
        return super().read(self.size)


def parsed(file: IO[bytes]) -> list[Any]:
    return [json.loads(element) for element in array_elements(file)]


@settings(max_examples=40)
@given(st.lists(ANYTHING, max_size=5), st.sampled_from([None, 2]), st.booleans(), st.integers(1, 40))
def test_as_the_whole_is_read(rows: list[Any], indent: int | None, ascii_only: bool, size: int) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    assert parsed(Trickle(text.encode("utf-8", "surrogatepass"), size)) == rows


def test_numbers_are_not_cut_where_a_block_ends() -> None:
    assert parsed(Trickle(b"[12, 345]", 2)) == [12, 345]
    assert parsed(Trickle(b" [ -1.5e3 , true ]\n", 1)) == [-1500.0, True]


def test_a_mark_at_the_start_and_nothing_inside() -> None:
    assert parsed(io.BytesIO("\ufeff[]".encode())) == []
    assert parsed(io.BytesIO("\ufeff [ ]  ".encode())) == []


def test_objects_one_after_another_are_rows_too() -> None:
    assert parsed(io.BytesIO(b'{"a": 1}\n{"a": 2}\n')) == [{"a": 1}, {"a": 2}]


def test_long_values_take_a_few_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "_BLOCK", 16)
    rows = [{"text": "é" * 5000}, {"text": "\\" * 5000}, {"n": list(range(3000))}]
    assert parsed(io.BytesIO(json.dumps(rows).encode())) == rows


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        (b"", 0, "holds nothing"),
        (b"hello", 0, r"begins with neither \[ nor \{"),
        (b'[{"a": 1}, {"a": ', 1, "is not JSON at character 18: Expecting value"),
        (b'[{"a": 1}', 1, "ends where , or ] must be, at character 10"),
        (b'[{"a": 1} {"a": 2}]', 1, "holds '{' where , or ] must be, at character 11"),
        (b'[{"a": 1}, {"a": 2 "b": 3}]' + b" " * 99, 1, "is not JSON at character 20: Expecting ',' delimiter"),
        (b'[{"a": 1}, ]', 1, "is not JSON at character 12: Expecting value"),
        (b'[{"a": 1}] {}', 1, "goes on after its array, at character 12"),
        (b'[{"a": "\xff"}]', 0, "is not UTF-8 after character 0"),
        (b"[" * 100_000, 0, "is nested too deeply at character 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: bytes, given: int, message: str) -> None:
    found = []
    with pytest.raises(ValueError, match=message):
        found.extend(array_elements(io.BytesIO(text)))
    assert len(found) in (0, given)  # `extend` keeps what came before on some versions of Python
    elements = array_elements(io.BytesIO(text))
    for _ in range(given):
        next(elements)
    with pytest.raises(ValueError, match=message):
        next(elements)
