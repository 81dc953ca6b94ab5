"""Raw memory inside kernels: bytes, words and records by address, block moves, bit lengths.

A numba array that is passed to a function which is not inlined is counted up and down, two atomic operations a call;
an address is an integer. The caller's array keeps the memory alive, and nothing here checks bounds: every kernel that
takes an address says how far it goes.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

# kernels.py hashes every module that holds this line, so that a change here is a new cache folder.
from data_controller.kernels import kernel  # noqa: F401

_memmove: Any = cgutils.raw_memmove
_I8 = ir.IntType(8)
_I64 = ir.IntType(64)


def _pointer(builder: Any, address: Any, to: Any) -> Any:
    return builder.inttoptr(address, to.as_pointer())


def _address_of(typing_context: Any, array: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, args[0]).data, _I64)

    return types.int64(array), codegen


def _load_byte(typing_context: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(_pointer(builder, args[0], _I8)), _I64)

    return types.int64(types.int64), codegen


def _store_byte(typing_context: Any, address: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(builder.trunc(args[1], _I8), _pointer(builder, args[0], _I8))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


def _load_word(typing_context: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(builder, args[0], _I64), align=1)

    return types.uint64(types.int64), codegen


def _store_word(typing_context: Any, address: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], _pointer(builder, args[0], _I64), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), codegen


def _move_bytes(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, of = _pointer(builder, args[0], _I8), _pointer(builder, args[1], _I8)
        _memmove(builder, to, of, args[2], ir.Constant(_I64, 1), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def _bit_length(typing_context: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zeros = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(_I64, 64), zeros)

    return types.int64(types.uint64), codegen


def record_at(dtype: np.dtype[Any]) -> Any:
    """An intrinsic `at(base, i)`: the record number `i` of the array of `dtype` that begins at address `base`."""
    record: Any = numba.from_dtype(dtype)

    def typed(typing_context: Any, base: Any, i: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            offset = builder.mul(args[1], ir.Constant(_I64, dtype.itemsize))
            return builder.inttoptr(builder.add(args[0], offset), context.get_value_type(record))

        return record(types.int64, types.int64), codegen

    made: Any = intrinsic(typed)
    return made


address_of: Any = intrinsic(_address_of)
"""address_of(array): where its first item lies, int64."""

load_byte: Any = intrinsic(_load_byte)
"""load_byte(address): one byte as an int64."""

store_byte: Any = intrinsic(_store_byte)
"""store_byte(address, value): the lowest byte of an int64."""

load_word: Any = intrinsic(_load_word)
"""load_word(address): 8 bytes as a little-endian uint64, at any alignment."""

store_word: Any = intrinsic(_store_word)
"""store_word(address, word): the uint64's 8 bytes, at any alignment."""

move_bytes: Any = intrinsic(_move_bytes)
"""move_bytes(target, source, count): as C's memmove."""

bit_length: Any = intrinsic(_bit_length)
"""bit_length(word): bits of a uint64 up to its highest set one; 0 for 0."""
