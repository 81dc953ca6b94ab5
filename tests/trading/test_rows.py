from __future__ import annotations

import numpy as np
import pytest

from data_controller.trading.rows import (
    DECISION,
    FILL,
    LIMITS,
    ORDER,
    POSITION,
    RISK,
    TERMS,
    WATCH,
    State,
    Status,
    Verdict,
    command_id,
    decision_id,
)

DTYPES = [DECISION, FILL, LIMITS, ORDER, POSITION, RISK, TERMS, WATCH]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_have_no_hidden_padding_and_keep_their_fields_aligned(dtype: np.dtype) -> None:
    end = 0
    for name in dtype.names:
        field, offset = dtype.fields[name][:2]
        assert offset == end, name
        assert offset % field.base.itemsize == 0, name
        assert field.base.byteorder in "<|=", name
        end = offset + field.itemsize
    assert end == dtype.itemsize
    assert end % 8 == 0


def test_the_zero_of_every_state_is_the_safe_one() -> None:
    assert (State(0), Verdict(0), Status(0)) == (State.HALTED, Verdict.REFUSED_UNJUDGED, Status.REJECTED)


def test_ids_are_derived_from_record_and_instrument() -> None:
    assert decision_id(0xABC, 7) == "0000000000000abc-7"
    assert command_id(0xABC, 7, 1) == "0000000000000abc-7-1"
    assert command_id(0xABC, 7, 1, 2) == "0000000000000abc-7-1.2"
