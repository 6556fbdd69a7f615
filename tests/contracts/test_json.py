"""What is JSON here, and when two spellings of it are one value.

How to think about it: nothing behind `parse` looks at text or numbers again, so what must never be
met there (NUL, half a surrogate pair, a rounded number, a stack of brackets) is refused here, in
time that grows with the body and no faster.
"""

import contextlib
import json
import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_manager.contracts.wire import DEPTH_MAX, DIGITS_MAX, InvalidInput, content_hash, parse

# A body at the limit, made to be slow to read, and what reading it may cost on a busy machine.
BODY_BYTES = 256 * 1024
READ_SECONDS_MAX = 1.0


def refusal(body: bytes) -> str:
    with pytest.raises(InvalidInput) as refused:
        parse(body)
    [error] = refused.value.errors
    assert error.field == ""
    return error.message


def nested(depth: int, inside: str = "") -> bytes:
    return ("[" * depth + inside + "]" * depth).encode()


NOT_JSON = {
    "nothing": b"",
    "blanks": b" \n",
    "a BOM": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "a byte that is no UTF-8": b'{"a":"\xff"}',
    "an overlong NUL": b'{"a":"\xc0\x80"}',
    "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "half of a value": b'{"a":',
    "two values": b"{}{}",
    "garbage behind": b"{} x",
    "a NUL behind": b"{}\x00",
    "a trailing comma": b'{"a":1,}',
    "a comment": b"/**/{}",
    "single quotes": b"{'a':1}",
    "a bare key": b"{a:1}",
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "-Infinity": b'{"a":-Infinity}',
    "a leading zero": b'{"a":01}',
    "a leading plus": b'{"a":+1}',
    "a bare point": b'{"a":.5}',
    "a point and no digit": b'{"a":5.}',
    "a raw newline in a text": b'{"a":"\n"}',
    "an unknown escape": b'{"a":"\\x41"}',
    "a vertical tab between": b'\x0b{"a":1}',
    "a no-break space between": b"\xc2\xa0{}",
    "100,000 brackets that never close": b"[" * 100_000 + b"x",
}
NUL = {
    "raw in a text": b'{"a":"\x00"}',
    "escaped in a text": b'{"a":"\\u0000"}',
    "escaped in a key": b'{"\\u0000":1}',
    "deep inside": b'{"meta":{"x":[{"y":["\\u0000"]}]}}',
    "behind a backslash": b'{"a":"\\\\\\u0000"}',
    "in what a repeated key hides": b'{"a":"\\u0000","a":1}',
    "beside others": b'{"a":"x\\\\u0000 \\u0000"}',
}
LONE_SURROGATES = {
    "high": b'{"a":"\\ud800"}',
    "low": b'{"a":"\\udc00"}',
    "two high ones": b'{"a":"\\uD800\\uD800"}',
    "high before a letter": b'{"a":"\\ud800\\u0041"}',
    "in a key": b'{"\\ud83d":1}',
    "in what a repeated key hides": b'{"a":"\\ud800","a":1}',
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_in_utf8_is_refused(body: bytes) -> None:
    assert refusal(body) in {"must be JSON in UTF-8", f"must be nested at most {DEPTH_MAX} deep"}


@pytest.mark.parametrize("body", NUL.values(), ids=NUL)
def test_a_nul_is_refused_wherever_it_stands(body: bytes) -> None:
    assert refusal(body) in {"must hold no NUL character", "must be JSON in UTF-8"}


def test_a_backslash_before_u0000_is_only_text() -> None:
    assert parse(b'{"a":"\\\\u0000","b":"\\\\\\\\u0000"}') == {"a": "\\u0000", "b": "\\\\u0000"}


@pytest.mark.parametrize("body", LONE_SURROGATES.values(), ids=LONE_SURROGATES)
def test_a_lone_surrogate_is_refused_wherever_it_stands(body: bytes) -> None:
    assert refusal(body) == "must be JSON in UTF-8"


def test_all_other_characters_come_through() -> None:
    assert parse(b'{"a":"\\ud83d\\ude00\\u2028\x7f\\uffff"}') == {"a": "😀\u2028\x7f\uffff"}


@pytest.mark.parametrize("inside", ["", "1", '"x"'])
def test_nesting_ends_exactly_at_its_limit(inside: str) -> None:
    assert parse(nested(DEPTH_MAX, inside))
    assert "nested" in refusal(nested(DEPTH_MAX + 1, inside))
    objects = b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX
    assert parse(objects)
    assert "nested" in refusal(b'{"a":' + objects + b"}")


def test_many_brackets_side_by_side_are_not_deep() -> None:
    body = b"[" + b",".join([b'{"a":["[[[["]}'] * 5_000) + b"]"
    assert len(parse(body)) == 5_000


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_a_hundred_thousand_brackets_are_refused(opening: bytes) -> None:
    assert "nested" in refusal(opening * 100_000)


EXACT = {
    b"100.5": Decimal("100.5"),
    b"100.50": Decimal("100.5"),
    b"1.005e2": Decimal("100.5"),
    b"0.1": Decimal("0.1"),
    b"1e400": Decimal("1E+400"),
    b"1e-400": Decimal("1E-400"),
    b"123456789012345678901234567890": 123456789012345678901234567890,
    b"18446744073709551616": 2**64,
    b"0.1234567890123456789012345678901234567890": Decimal(
        "0.123456789012345678901234567890123456789"
    ),
    b"-0": 0,
    b"-0.0": 0,
    b"1E+5": 100_000,
}


@pytest.mark.parametrize(("spelled", "value"), EXACT.items())
def test_numbers_are_exact(spelled: bytes, value: int | Decimal) -> None:
    read = parse(b"[%b]" % spelled)[0]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "spelled",
    ["9" * 5_000, "9" * 5_000 + ".5", "9" * 5_000 + "e9", "0." + "9" * 5_000, "9" * 250_000],
)
def test_numbers_beyond_any_use_are_refused_for_their_length(spelled: str) -> None:
    assert refusal(f'{{"a":{spelled}}}'.encode()) == (
        f"must have no number of more than {DIGITS_MAX} digits"
    )


@pytest.mark.parametrize("digits", [30, 200, DIGITS_MAX])
def test_long_numbers_are_kept(digits: int) -> None:
    assert parse(f"[{'9' * digits}]".encode())[0] == Decimal("9" * digits)


@pytest.mark.parametrize(
    "spelled", ["1e999999999999999999999", "-1e-999999999999999999999", "0e99999999999999999999"]
)
def test_exponents_beyond_a_decimal_are_refused(spelled: str) -> None:
    assert refusal(f"[{spelled}]".encode()) == "must have no number with such an exponent"


def test_of_a_repeated_key_the_last_counts() -> None:
    assert parse(b'{"a":1,"b":2,"a":{"c":1,"c":"x"}}') == {"a": {"c": "x"}, "b": 2}


SLOW = {
    "zeros to be expanded": b"[" + b",".join([b"1e127"] * (BODY_BYTES // 6)) + b"]",
    "fractions": b"[" + b",".join([b"1.5"] * (BODY_BYTES // 4)) + b"]",
    "long integers": b"[" + b",".join([b"7" * DIGITS_MAX] * (BODY_BYTES // DIGITS_MAX)) + b"]",
    "huge exponents": b"[" + b",".join([b"1e99999999"] * (BODY_BYTES // 11)) + b"]",
    "backslashes": b'["\\u0000' + b"\\\\" * (BODY_BYTES // 2) + b'"]',
    "backslashes before the NUL": b'["' + b"\\\\" * (BODY_BYTES // 2) + b'\\\\u0000"]',
    "empty arrays": b"[" + b",".join([b"[]"] * (BODY_BYTES // 3)) + b"]",
}


@pytest.mark.parametrize("body", SLOW.values(), ids=SLOW)
def test_a_body_that_is_made_to_be_slow_is_not(body: bytes) -> None:
    began = time.process_time()
    with contextlib.suppress(InvalidInput):
        content_hash(parse(body))
    assert time.process_time() - began < READ_SECONDS_MAX


# ── The same value, however it is spelled ─────────────────────────────────────────────────────────


def hash_of(body: bytes) -> bytes:
    return content_hash(parse(body))


SAME: list[tuple[bytes, ...]] = [
    (b'{"a":1,"b":2}', b'{"b":2,"a":1}', b' {\n"b" : 2 ,\t"a":1} ', b'{"a":0,"b":2,"a":1}'),
    (b"[100.5]", b"[100.50]", b"[1.005e2]", b"[1005E-1]", b"[0.1005e+3]"),
    (b"[0]", b"[-0]", b"[0.0]", b"[-0.00]", b"[0e5]", b"[0e-5]"),
    (b"[1000]", b"[1e3]", b"[1000.0]", b"[10E2]"),
    ('["é"]'.encode(), b'["\\u00e9"]', b'["\\u00E9"]'),
    (b'["/"]', b'["\\/"]', b'["\\u002f"]'),
    ('["😀"]'.encode(), b'["\\ud83d\\ude00"]'),
    (b'{"\\u0061":1}', b'{"a":1}'),
    (b"[1e127]", b"[1" + b"0" * 127 + b"]"),
    (b"[1e128]", b"[1" + b"0" * 128 + b"]", b"[1" + b"0" * 128 + b".0]", b"[10e127]"),
    (b"[-1e4000]", b"[-1" + b"0" * 4000 + b"]"),
    (b"[" + b"7" * 300 + b"0]", b"[" + b"7" * 300 + b"e1]", b"[" + b"7" * 300 + b"0.0]"),
]
DIFFERENT = [
    b"1", b'"1"', b"true", b"[1]", b'{"1":1}', b"2", b"-1", b"1.1", b"1e400", b"1e401", b"1e-400",
    b"0", b"false", b"null", b'""', b'"0"', b"[]", b"{}", b"[0]", b"[[]]", b"[null]", b'"null"',
    b"[1,2]", b"[2,1]", b"[1,2,2]", b'{"a":1}', b'{"a":null}', b'{"a":"1"}', b'{"A":1}',
    b'{"a":1,"b":2}', b'{"a":2,"b":1}', b'{"a":{"b":1}}', b'{"a":{},"b":1}', b'"1.0"', b'"a"',
    b'"a "', b'"\xc3\xa9"', b'"e\xcc\x81"',
]  # fmt: skip


@pytest.mark.parametrize("spellings", SAME, ids=lambda spellings: spellings[0][:20].decode())
def test_spellings_of_one_value_hash_alike(spellings: tuple[bytes, ...]) -> None:
    assert len({hash_of(spelling) for spelling in spellings}) == 1


def test_other_values_hash_otherwise() -> None:
    assert len({hash_of(body) for body in DIFFERENT}) == len(DIFFERENT)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.builds(lambda digits, exponent: Decimal((0, (digits,), exponent)), st.integers(1, 9),
              st.integers(-200, 400)),
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


def spelled(value: Any, draw: st.DataObject) -> str:
    """The value in JSON, in one of its many spellings."""
    blank = draw.draw(st.sampled_from(["", " ", "\n\t"]))
    if isinstance(value, dict):
        items = draw.draw(st.permutations(list(value.items())))
        members = (f"{spelled(k, draw)}{blank}:{spelled(v, draw)}" for k, v in items)
        return "{" + blank + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + f",{blank}".join(spelled(item, draw) for item in value) + blank + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=draw.draw(st.booleans()))
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    sign, digits, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int)
    zeros = draw.draw(st.integers(0, 3))
    number = "".join(map(str, digits)).lstrip("0") or "0"
    minus = "-" if sign else ""
    plain = exponent >= 0 and draw.draw(st.booleans())
    if plain:
        return minus + (number + "0" * exponent if number != "0" else "0")
    return f"{minus}{number}.{'0' * (zeros + 1)}e{exponent:+d}"


@given(VALUES, st.data())
def test_any_two_spellings_of_a_value_hash_alike(value: Any, draw: st.DataObject) -> None:
    one, other = spelled(value, draw).encode(), spelled(value, draw).encode()
    assert hash_of(one) == hash_of(other)
    assert parse(one) == parse(other) == value


@given(VALUES, VALUES)
def test_values_hash_alike_only_if_they_are_equal(one: Any, other: Any) -> None:
    def typed(value: Any) -> Any:
        """With true told from 1, as JSON does and Python doesn't."""
        if isinstance(value, dict):
            return {key: typed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [typed(item) for item in value]
        return (isinstance(value, bool), value)

    encode = msgspec.json.Encoder(decimal_format="number").encode
    alike = hash_of(encode(one)) == hash_of(encode(other))
    assert alike == (typed(one) == typed(other))


@given(st.binary(max_size=40) | st.text('{}[]",:\\u0d8e1.+-eE ', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        value = parse(body)
    except InvalidInput:
        return
    assert len(content_hash(value)) == 16
    assert json.loads(body, parse_int=Decimal, parse_float=Decimal) == value
