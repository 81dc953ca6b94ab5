"""The Trader: forecasts, due times and touched prices in; decision rows, orders and fills out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_controller.actions import Submit
from data_controller.market.rows import copy_rows
from data_controller.trading.decide import decide, leave, settle
from data_controller.trading.paper import next_due
from data_controller.trading.rows import (
    DECISION,
    FILL,
    INVALID,
    LIMITS,
    ORDER,
    POSITION,
    RISK,
    TERMS,
    WATCH,
    Reason,
    State,
    Status,
    Verdict,
    command_id,
)
from data_controller.trading.settings import MAX_ORDERS_MINUTE, RiskSettings, TradingSettings
from data_controller.trading.watch import arm

_ACCEPTED, _NO_EDGE = int(Verdict.ACCEPTED), int(Verdict.NO_EDGE)
_VERDICT_NAMES = [(int(verdict), f"verdict_{verdict.name.lower()}") for verdict in Verdict]
_REASON_NAMES = [(int(r), f"orders_{r.name.lower()}") for r in Reason if r is not Reason.NONE]
_KEPT = ("position", "average_price", "cash_quote", "fees_quote", "realised_quote", "mark", "turnover_quote")
_KEPT_INTEGERS = ("opened_ns", "timeout_ns", "retry_ns", "last_exit_ns", "exits", "exit_reason")


class Trader:
    """Decides, orders and keeps the paper account; a function of the calls in their order.

    It begins HALTED, latched and with a journal that does not record: `set_state`, `set_latched` and `set_journal_ok`
    open the gate. `watch` (WATCH), `portfolio` (POSITION) and `orders` (ORDER) are arrays by instrument.
    """

    def __init__(
        self, trading: TradingSettings, risk: RiskSettings, n_instruments: int, horizons_s: Sequence[int]
    ) -> None:
        self.portfolio = np.zeros(n_instruments, POSITION)
        self.watch = np.zeros(n_instruments, WATCH)
        self.orders = np.zeros(n_instruments, ORDER)
        self.portfolio["mark"] = np.nan
        self.horizons_s = np.asarray(horizons_s, np.int64)
        self._terms = np.zeros(1, TERMS)
        self._limits = np.zeros(1, LIMITS)
        self._risk = np.zeros(1, RISK)
        self._order_times = np.zeros(MAX_ORDERS_MINUTE, np.int64)
        self._rows = np.zeros(max(1, n_instruments), DECISION)
        self._fills = np.zeros(max(1024, 2 * n_instruments), FILL)
        self._n_fills = 0
        self._actions: list[Submit] = []
        self._verdicts = np.zeros(256, np.int64)
        self._statuses = np.zeros(3, np.int64)
        self._ordered = np.zeros(len(Reason), np.int64)
        self.next_due_ns = next_due(self.portfolio, self.orders)
        self.set_terms(trading)
        self.set_limits(risk)
        self._risk["equity"] = self._risk["peak_equity"] = self._risk["day_equity"] = trading.start_equity_quote
        self._risk["day"] = -1

    def set_state(self, state: State) -> None:
        """Let entries through (ACTIVE) or not; positions are guarded in every state."""
        self._risk["state"] = int(state)

    def set_latched(self, latched: bool) -> None:
        """Say whether the kill switch is latched."""
        self._risk["clear"] = 0 if latched else 1

    def set_journal_ok(self, ok: bool) -> None:
        """Say whether the journal records."""
        self._risk["journal_ok"] = 1 if ok else 0

    def set_terms(self, trading: TradingSettings) -> None:
        """Take new terms from the next call on; orders on their way keep theirs. The start equity is never changed."""
        if self._terms["start_equity_quote"][0] == 0.0:
            self._terms["start_equity_quote"] = trading.start_equity_quote
        for name in (
            "stake_quote",
            "fee_bps",
            "latency_drift_bps",
            "probability_haircut",
            "stop_bps",
            "take_profit_bps",
            "exit_on_reversal",
            "allow_short",
            "record_no_edge",
        ):
            self._terms[name] = getattr(trading, name)
        self._terms["latency_ns"] = trading.latency_ms * 1_000_000
        self._terms["exit_retry_ns"] = trading.exit_retry_ms * 1_000_000
        self._limits["min_edge_bps"] = trading.min_edge_bps

    def set_limits(self, risk: RiskSettings) -> None:
        """Take new limits from the next decision on."""
        for name in LIMITS.names or ():
            if name != "min_edge_bps":
                self._limits[name] = getattr(risk, name)

    @property
    def limits(self) -> NDArray[np.void]:
        """The limits in force, LIMITS [1]."""
        return self._limits

    @property
    def risk(self) -> NDArray[np.void]:
        """State, equity, its peak and the day's start, RISK [1]."""
        return self._risk

    def on_answer(
        self,
        seq: int,
        now_ns: int,
        tick_ns: int,
        outputs: NDArray[np.float32],
        answer_valid: NDArray[np.uint8],
        feature_ok: NDArray[np.uint8],
        books: NDArray[np.void],
        book_of: NDArray[np.int32],
        levels: NDArray[np.void],
    ) -> NDArray[np.void]:
        """Decide for all instruments on the answer for `tick_ns`; DECISION rows, a view valid until the next call.

        `outputs` is float32 [instruments, horizons, 4] (p_up, p_down, mean_bps, sd_bps), `answer_valid` and
        `feature_ok` uint8 [instruments], `book_of` int32 [instruments]: the row of each instrument's book, -1 for
        none. Books are read as they stand. Raises ValueError where the shapes do not fit.
        """
        n = len(self.portfolio)
        expected = (n, len(self.horizons_s), 4)
        if outputs.shape != expected or not len(answer_valid) == len(feature_ok) == len(book_of) == n:
            raise ValueError(
                f"expected outputs {expected} and {n} validities and books, was {outputs.shape}, "
                f"{len(answer_valid)}, {len(feature_ok)} and {len(book_of)}"
            )
        kept = decide(
            seq,
            now_ns,
            tick_ns,
            outputs,
            answer_valid,
            feature_ok,
            books,
            book_of,
            levels,
            self.horizons_s,
            self._terms[0],
            self._limits[0],
            self._risk[0],
            self._order_times,
            self.portfolio,
            self.orders,
            self.watch,
            self._rows,
            self._verdicts,
        )
        return self._ordered_rows(kept)

    def on_time(
        self,
        seq: int,
        now_ns: int,
        books: NDArray[np.void],
        book_of: NDArray[np.int32],
        levels: NDArray[np.void],
    ) -> NDArray[np.void]:
        """Fill what is due by `now_ns` and order exits whose time has come; the DECISION rows of these exits."""
        self._n_fills, n_rows = settle(
            seq,
            now_ns,
            books,
            book_of,
            levels,
            self._terms[0],
            self._risk[0],
            self._order_times,
            self.portfolio,
            self.orders,
            self.watch,
            self._rows,
            self._fills,
            self._n_fills,
            self._statuses,
        )
        self._verdicts[_ACCEPTED] += n_rows
        return self._ordered_rows(n_rows)

    def on_watch(
        self,
        instrument: int,
        reason: int,
        seq: int,
        now_ns: int,
        books: NDArray[np.void],
        book_of: NDArray[np.int32],
        levels: NDArray[np.void],
    ) -> NDArray[np.void]:
        """Leave `instrument` because `touched` returned `reason`; its DECISION row, or none where nothing is to do."""
        n_rows = leave(
            instrument,
            reason,
            seq,
            now_ns,
            books,
            book_of,
            levels,
            self._terms[0],
            self._risk[0],
            self._order_times,
            self.portfolio,
            self.orders,
            self.watch,
            self._rows,
        )
        self._verdicts[_ACCEPTED] += n_rows
        return self._ordered_rows(n_rows)

    def actions(self) -> list[Submit]:
        """The orders since the last call, in order; drained."""
        drained, self._actions = self._actions, []
        return drained

    def fills(self) -> NDArray[np.void]:
        """FILL rows since the last call, in order; drained. Rejected orders are rows of size 0."""
        drained = copy_rows(self._fills[: self._n_fills])
        self._n_fills = 0
        return drained

    @property
    def counters(self) -> dict[str, int]:
        """Monotone counts: decisions, each verdict, orders by reason, fills, rejects."""
        verdicts, ordered, statuses = self._verdicts.tolist(), self._ordered.tolist(), self._statuses.tolist()
        counts: dict[str, int] = {name: verdicts[v] for v, name in _VERDICT_NAMES}
        counts |= {name: ordered[r] for r, name in _REASON_NAMES}
        counts["decisions"] = sum(verdicts)
        counts["decisions_refused"] = counts["decisions"] - verdicts[_ACCEPTED] - verdicts[_NO_EDGE]
        counts["decisions_refused_invalid"] = sum(verdicts[v] for v in INVALID)
        counts["orders"] = sum(ordered)
        counts["fills"] = statuses[Status.FILLED] + statuses[Status.PARTIAL]
        counts["fills_partial"] = statuses[Status.PARTIAL]
        counts["orders_rejected"] = statuses[Status.REJECTED]
        return counts

    def grow(self, n_instruments: int) -> None:
        """Make room for instruments appended to the table; called at a tick, never shrinks."""
        more = n_instruments - len(self.portfolio)
        if more <= 0:
            return
        added = np.zeros(more, POSITION)
        added["mark"] = np.nan
        self.portfolio = np.concatenate([self.portfolio, added])
        self.watch = np.concatenate([self.watch, np.zeros(more, WATCH)])
        self.orders = np.concatenate([self.orders, np.zeros(more, ORDER)])
        self._rows = np.zeros(n_instruments, DECISION)
        if len(self._fills) < 2 * n_instruments:
            self._fills = np.concatenate([self._fills, np.zeros(2 * n_instruments - len(self._fills), FILL)])

    def dump(self) -> dict[str, Any]:
        """The account and the risk figures as plain JSON values, for a START record; orders on their way are not in it.

        An exit on its way is in it as an exit to be tried again; an entry on its way is forgotten with the exchange.
        """
        risk, terms = self._risk[0], self._terms[0]
        recent = range(int(risk["order_tail"]), int(risk["order_head"]))
        positions = {}
        for i, p in enumerate(self.portfolio):
            if p["turnover_quote"] != 0.0:
                row: dict[str, Any] = {k: float(p[k]) for k in _KEPT if p[k] == p[k]}
                row |= {k: int(p[k]) for k in _KEPT_INTEGERS}
                row |= {"stop_bps": float(self.orders[i]["stop_bps"])}
                row |= {"take_profit_bps": float(self.orders[i]["take_profit_bps"])}
                positions[str(i)] = row
        return {
            "start_equity_quote": float(terms["start_equity_quote"]),
            "peak_equity": float(risk["peak_equity"]),
            "day": int(risk["day"]),
            "day_equity": float(risk["day_equity"]),
            "order_times_ns": [int(self._order_times[k % MAX_ORDERS_MINUTE]) for k in recent],
            "positions": positions,
        }

    def restore(self, state: dict[str, Any], now_ns: int = 0) -> None:
        """Take up what `dump` gave, on a new Trader; an empty dict changes nothing. The gate stays as closed as it was.

        What came due while nobody was there is due at `now_ns`: an exit is not tried again for every second since.
        Raises KeyError or ValueError where it is no dump; the Trader must not be used then.
        """
        if not state:
            return
        risk = self._risk[0]
        self._terms["start_equity_quote"] = state["start_equity_quote"]
        for name in ("peak_equity", "day", "day_equity"):
            risk[name] = state[name]
        times = state["order_times_ns"][-MAX_ORDERS_MINUTE:]
        self._order_times[: len(times)] = times
        risk["order_tail"], risk["order_head"] = 0, len(times)
        self.grow(1 + max((int(i) for i in state["positions"]), default=-1))
        for key, row in state["positions"].items():
            i = int(key)
            p = self.portfolio[i]
            for name in _KEPT + _KEPT_INTEGERS:
                if name in row:
                    p[name] = row[name]
            for name in ("timeout_ns", "retry_ns"):
                p[name] = max(int(p[name]), now_ns)
            self.orders[i]["stop_bps"], self.orders[i]["take_profit_bps"] = row["stop_bps"], row["take_profit_bps"]
            if p["position"] != 0.0 and p["exit_reason"] == Reason.NONE:
                side = 1 if p["position"] > 0 else -1
                arm(self.watch, i, side, p["average_price"], row["stop_bps"], row["take_profit_bps"])
        self.next_due_ns = next_due(self.portfolio, self.orders)

    def _ordered_rows(self, n: int) -> NDArray[np.void]:
        rows = self._rows[:n]
        for k in np.flatnonzero(rows["verdict"] == _ACCEPTED):
            row = rows[k]
            reason = Reason(int(row["reason"]))
            self._ordered[reason] += 1
            instrument = int(row["instrument"])
            name = command_id(int(row["seq"]), instrument, int(row["leg"]), int(row["attempt"]))
            self._actions.append(
                Submit(int(row["seq"]), name, instrument, int(row["side"]), float(row["size"]), reason.name.lower())
            )
        self.next_due_ns = next_due(self.portfolio, self.orders)
        return rows
