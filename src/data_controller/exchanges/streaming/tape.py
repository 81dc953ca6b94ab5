"""JSON as a tape of tokens, made in one compiled pass; readers walk it by member name, in whatever order members come.

`tape_of` writes a token for every value of a text, containers before what they hold; `after` leads over a container.
A text that is no JSON has no tape, so readers see well-formed input only. Names are compared by `name(text)`, a 64-bit
FNV-1a hash (G. Fowler, L. Noll, K.-P. Vo, 1991): make it a module constant, `_PRICE = name("price")`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from data_controller.kernels import kernel
from data_controller.market._words import load_byte
from data_controller.market.numbers import scan_integer, scan_number

TOKEN = np.dtype(
    [
        ("start", "<i8"),  # address of the first byte; behind the quote of a string
        ("stop", "<i8"),  # address behind the last one
        ("key", "<u8"),  # hash of its name in the object that holds it, 0 in a list
        ("after", "<i4"),  # the token behind it and all it holds
        ("kind", "u1"),
        ("escaped", "u1"),  # a string with backslashes: its bytes are not its text
        ("zero", "u1", (2,)),
    ]
)
assert TOKEN.itemsize == 32

OBJECT, LIST, STRING, NUMBER, TRUE, FALSE, NULL = 1, 2, 3, 4, 5, 6, 7
NOT_JSON = -1
TOO_MANY = -2
"""More tokens than the tape holds."""
MAX_DEPTH = 32

_BASIS = 0xCBF29CE484222325
_PRIME = 0x100000001B3
_U_BASIS = np.uint64(_BASIS)
_U_PRIME = np.uint64(_PRIME)
_S = 1_000_000_000


def name(text: str) -> np.uint64:
    """The hash by which readers know `text`; never 0."""
    return _known(text) if len(text) <= _SHORT else _hash(text)


def _hash(text: str) -> np.uint64:
    value = _BASIS
    for byte in text.encode():
        value = (value ^ byte) * _PRIME & 0xFFFFFFFFFFFFFFFF
    return np.uint64(value or 1)


_known = lru_cache(1 << 13)(_hash)  # names of streams come again and again
_SHORT = 64


@kernel
def hash_of(p: Any, end: Any) -> Any:
    """`name` of the bytes between addresses `p` and `end`."""
    value = _U_BASIS
    while p < end:
        value = (value ^ np.uint64(load_byte(p))) * _U_PRIME
        p += 1
    return value if value != np.uint64(0) else np.uint64(1)


@kernel
def mixed(a: Any, b: Any) -> Any:
    """One hash out of two, order mattering; never 0."""
    value = (a ^ (b >> np.uint64(29)) ^ (b * np.uint64(0x9E3779B97F4A7C15))) * np.uint64(0xBF58476D1CE4E5B9)
    value = value ^ (value >> np.uint64(31))
    return value if value != np.uint64(0) else np.uint64(1)


@kernel
def _space(p: Any, end: Any) -> Any:
    while p < end:
        c = load_byte(p)
        if c != 32 and c != 10 and c != 13 and c != 9:
            break
        p += 1
    return p


@kernel
def _string_end(p: Any, end: Any) -> Any:
    """Address of the quote that ends the string whose text begins at `p`, and whether it has escapes; -1 where none."""
    escaped = False
    while p < end:
        c = load_byte(p)
        if c == 34:
            return np.int64(p), escaped
        if c == 92:
            escaped = True
            p += 1
        elif c < 32:
            break
        p += 1
    return np.int64(-1), escaped


@kernel
def _member_name(p: Any, end: Any) -> Any:
    """The name at `p` and its colon: (address of the value, hash); -1 where there is none."""
    if p >= end or load_byte(p) != 34:
        return np.int64(-1), np.uint64(0)
    stop, _ = _string_end(p + 1, end)
    if stop < 0:
        return np.int64(-1), np.uint64(0)
    key = hash_of(p + 1, stop)
    p = _space(stop + 1, end)
    if p >= end or load_byte(p) != 58:
        return np.int64(-1), np.uint64(0)
    return np.int64(p + 1), key


@kernel
def _literal(p: Any, end: Any) -> Any:
    """(kind, address behind it) of true, false or null at `p`; kind 0 where it is none."""
    c = load_byte(p)
    if c == 116 and p + 4 <= end and load_byte(p + 1) == 114 and load_byte(p + 2) == 117 and load_byte(p + 3) == 101:
        return TRUE, np.int64(p + 4)
    if c == 110 and p + 4 <= end and load_byte(p + 1) == 117 and load_byte(p + 2) == 108 and load_byte(p + 3) == 108:
        return NULL, np.int64(p + 4)
    if (
        c == 102
        and p + 5 <= end
        and load_byte(p + 1) == 97
        and load_byte(p + 2) == 108
        and load_byte(p + 3) == 115
        and load_byte(p + 4) == 101
    ):
        return FALSE, np.int64(p + 5)
    return 0, np.int64(p)


@kernel
def _number_end(p: Any, end: Any) -> Any:
    """Address behind the characters that a number is written with."""
    while p < end:
        c = load_byte(p)
        if not (48 <= c <= 57 or c == 45 or c == 46 or c == 43 or c == 101 or c == 69):
            break
        p += 1
    return p


@kernel
def tape_of(p: Any, end: Any, tape: Any) -> Any:
    """Write the tape of the JSON text between addresses `p` and `end`: how many tokens, or NOT_JSON or TOO_MANY.

    What is inside a number or behind a backslash is judged by who reads it.
    """
    n = np.int64(0)
    parent = np.int64(-1)
    depth = 0
    key = np.uint64(0)
    while True:
        p = _space(p, end)
        if p >= end:
            return np.int64(NOT_JSON)
        if n >= len(tape):
            return np.int64(TOO_MANY)
        token = tape[n]
        token.key = key
        token.start = p
        token.escaped = 0
        c = load_byte(p)
        n += 1
        if c == 123 or c == 91:
            depth += 1
            if depth > MAX_DEPTH:
                return np.int64(NOT_JSON)
            token.kind = OBJECT if c == 123 else LIST
            token.after = parent  # until it is closed: the container around it
            parent = n - 1
            p = _space(p + 1, end)
            if p >= end:
                return np.int64(NOT_JSON)
            if load_byte(p) != c + 2:
                key = np.uint64(0)
                if c == 123:
                    p, key = _member_name(p, end)
                    if p < 0:
                        return np.int64(NOT_JSON)
                continue
        elif c == 34:
            stop, escaped = _string_end(p + 1, end)
            if stop < 0:
                return np.int64(NOT_JSON)
            token.kind = STRING
            token.start = p + 1
            token.stop = stop
            token.escaped = 1 if escaped else 0
            token.after = n
            p = stop + 1
        elif c == 45 or 48 <= c <= 57:
            p = _number_end(p, end)
            token.kind = NUMBER
            token.stop = p
            token.after = n
        else:
            kind, p = _literal(p, end)
            if kind == 0:
                return np.int64(NOT_JSON)
            token.kind = kind
            token.stop = p
            token.after = n
        # Behind a value: the next one of its container, or the end of containers.
        while True:
            p = _space(p, end)
            if parent < 0:
                return n if p == end else np.int64(NOT_JSON)
            if p >= end:
                return np.int64(NOT_JSON)
            c = load_byte(p)
            inside = tape[parent].kind
            if c == 44 and tape[parent].kind != 0:
                p = _space(p + 1, end)
                key = np.uint64(0)
                if inside == OBJECT:
                    p, key = _member_name(p, end)
                    if p < 0:
                        return np.int64(NOT_JSON)
                break
            if c != (125 if inside == OBJECT else 93):
                return np.int64(NOT_JSON)
            p += 1
            up = np.int64(tape[parent].after)
            tape[parent].stop = p
            tape[parent].after = n
            parent = up
            depth -= 1


@kernel
def member(tape: Any, t: Any, key: Any) -> Any:
    """The token named `key` in object `t`, 0 where there is none (the first of that name where there are several)."""
    if tape[t].kind != OBJECT:
        return np.int64(0)
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        if tape[at].key == key:
            return at
        at = np.int64(tape[at].after)
    return np.int64(0)


@kernel
def item(tape: Any, t: Any, i: Any) -> Any:
    """Item `i` of list `t`, 0 where there is none."""
    if tape[t].kind != LIST:
        return np.int64(0)
    at = np.int64(t) + 1
    end = tape[t].after
    while at < end:
        if i == 0:
            return at
        i -= 1
        at = np.int64(tape[at].after)
    return np.int64(0)


@kernel
def text(tape: Any, t: Any) -> Any:
    """The hash of string `t`, 0 where it is none."""
    token = tape[t]
    return hash_of(token.start, token.stop) if token.kind == STRING else np.uint64(0)


@kernel
def decimal(tape: Any, t: Any) -> Any:
    """The number `t`, or the one that string `t` holds: (there is one, digits, scale, flags, negative).

    Flags are those of `market.numbers`: EXPONENT, INEXACT, ABSURD.
    """
    token = tape[t]
    if t <= 0 or (token.kind != NUMBER and token.kind != STRING):
        return False, np.int64(0), np.int64(0), np.int64(0), False
    p, digits, scale, flags, negative = scan_number(token.start, token.stop)
    return p == token.stop, digits, scale, flags, negative


@kernel
def integer(tape: Any, t: Any) -> Any:
    """The integer `t`, or the one that string `t` holds: (there is one, value)."""
    token = tape[t]
    if t <= 0 or (token.kind != NUMBER and token.kind != STRING):
        return False, np.int64(0)
    p, value = scan_integer(token.start, token.stop)
    return p == token.stop, value


@kernel
def unit_ns(tape: Any, t: Any, unit: Any) -> Any:
    """Time `t`, an integer count of `unit` ns since 1970, as ns; 0 where there is none that 64 bits hold."""
    there, value = integer(tape, t)
    if not there or value <= 0 or value > 9_000_000_000_000_000_000 // unit:
        return np.int64(0)
    return value * unit


@kernel
def seconds_ns(tape: Any, t: Any) -> Any:
    """Time `t` in seconds since 1970, with up to nine decimals, as ns; 0 where there is none."""
    there, digits, scale, flags, negative = decimal(tape, t)
    if not there or flags != 0 or negative or scale > 9:
        return np.int64(0)
    for _ in range(9 - scale):
        if digits > 900_000_000_000_000_000:
            return np.int64(0)
        digits *= 10
    return digits


@kernel
def _digits(p: Any, count: Any) -> Any:
    """The number that `count` digits at `p` write, -1 where one is none."""
    value = np.int64(0)
    for k in range(count):
        c = load_byte(p + k) - 48
        if c < 0 or c > 9:
            return np.int64(-1)
        value = value * 10 + c
    return value


@kernel
def iso_ns(tape: Any, t: Any) -> Any:
    """Time `t` written `2021-04-05T23:47:03.123456Z` (UTC; fraction and Z may be missing) as ns; 0 where it is none.

    Days by H. Hinnant's `days_from_civil` (2013).
    """
    token = tape[t]
    p, end = token.start, token.stop
    if t <= 0 or token.kind != STRING or end - p < 19:
        return np.int64(0)
    year, month, day = _digits(p, 4), _digits(p + 5, 2), _digits(p + 8, 2)
    hour, minute, second = _digits(p + 11, 2), _digits(p + 14, 2), _digits(p + 17, 2)
    if min(year, month, day, hour, minute, second) < 0 or year < 1970 or year > 2200 or month < 1 or month > 12:
        return np.int64(0)
    fraction = np.int64(0)
    p += 19
    if p < end and load_byte(p) == 46:
        p += 1
        count = 0
        while p < end and 48 <= load_byte(p) <= 57:
            if count < 9:
                fraction = fraction * 10 + (load_byte(p) - 48)
                count += 1
            p += 1
        for _ in range(9 - count):
            fraction *= 10
    if not (p == end or (p + 1 == end and load_byte(p) == 90)):
        return np.int64(0)
    shifted = year - (1 if month <= 2 else 0)
    era = shifted // 400
    of_era = shifted - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    return ((days * 24 + hour) * 60 + minute) * 60 * _S + second * _S + fraction
