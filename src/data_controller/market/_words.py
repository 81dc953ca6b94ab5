"""Unaligned words, block moves and bit lengths inside kernels: what numba's indexing cannot say in one instruction."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic

# kernels.py hashes every module that holds this line, so that a change here is a new cache folder.
from data_controller.kernels import kernel  # noqa: F401

_memmove: Any = cgutils.raw_memmove


def _load_word(typing_context: Any, array: Any, index: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(base, [args[1]]), ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(array, types.int64), codegen


def _store_word(typing_context: Any, array: Any, index: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(base, [args[1]]), ir.IntType(64).as_pointer())
        builder.store(args[2], pointer, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


def _move_items(typing_context: Any, array: Any, target: Any, source: Any, count: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        to = builder.gep(view.data, [args[1]])
        of = builder.gep(view.data, [args[2]])
        _memmove(builder, to, of, args[3], view.itemsize, align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, types.int64), codegen


def _bit_length(typing_context: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zeros = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))
        return builder.sub(ir.Constant(ir.IntType(64), 64), zeros)

    return types.int64(types.uint64), codegen


load_word: Any = intrinsic(_load_word)
"""load_word(bytes, i): the 8 bytes at `i` as one little-endian uint64. No bounds check."""

store_word: Any = intrinsic(_store_word)
"""store_word(bytes, i, word): the word's 8 bytes, little-endian, at `i`. No bounds check."""

move_items: Any = intrinsic(_move_items)
"""move_items(array, target, source, count): as `array[target:][:count] = array[source:][:count]`, overlap allowed."""

bit_length: Any = intrinsic(_bit_length)
"""bit_length(word): bits of a uint64 up to its highest set one; 0 for 0."""
