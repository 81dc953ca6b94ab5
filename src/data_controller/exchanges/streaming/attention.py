"""Whether any book wants Subscriptions' attention: asked ten times a second, nearly always answered with no."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_controller.kernels import kernel
from data_controller.market.layout import Proof

_EMPTY, _PENDING, _BROKEN = int(Proof.EMPTY), int(Proof.PENDING), int(Proof.BROKEN)


@kernel
def attention(books: NDArray[np.void]) -> bool:
    """True where a book is EMPTY, PENDING or BROKEN."""
    for b in range(books.shape[0]):
        book = books[b]
        if book.depth == 0:
            continue
        if book.proof == _EMPTY or book.proof == _PENDING or book.proof == _BROKEN:
            return True
    return False


def unsure(books: NDArray[np.void]) -> list[int]:
    """Rows of `books` that are EMPTY, PENDING or BROKEN."""
    if not attention(books):
        return []
    proof = books["proof"]
    found = (proof == Proof.EMPTY) | (proof == Proof.PENDING) | (proof == Proof.BROKEN)
    return np.flatnonzero((books["depth"] > 0) & found).tolist()
