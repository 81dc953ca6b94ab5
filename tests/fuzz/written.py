"""What was written to a journal, side by side, to hold against what a reader makes of it without an object a record."""

from __future__ import annotations

from collections.abc import Iterable

from data_controller.journal.reader import join
from data_controller.records import Batch


class Written:
    """The records of one sound journal of one run."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._all = join(list(batches))

    def check(self, found: Iterable[Batch]) -> int:
        """How many records `found` holds; raises AssertionError at one that was not written, or comes again."""
        whole, read = self._all, 0
        behind = 0  # place behind the last record found
        for batch in found:
            n, low = len(batch.recv_ns), batch.first_seq - whole.first_seq
            high = low + n
            if low < behind or high > len(whole.recv_ns):
                raise AssertionError(
                    f"expected records {whole.first_seq + behind} to {whole.first_seq + len(whole.recv_ns) - 1}, "
                    f"were {batch.first_seq} to {batch.first_seq + n - 1}"
                )
            offsets = whole.offsets[low : high + 1]
            first = int(offsets[0])
            same = (
                batch.recv_ns.tobytes() == whole.recv_ns[low:high].tobytes()
                and batch.kind.tobytes() == whole.kind[low:high].tobytes()
                and batch.conn.tobytes() == whole.conn[low:high].tobytes()
                and batch.offsets.tobytes() == (offsets - offsets[0]).tobytes()
                and batch.data.tobytes() == whole.data[first : int(offsets[-1])].tobytes()
            )
            if not same:
                raise AssertionError(f"expected only records that were written, was {batch}")
            behind, read = high, read + n
        return read
