"""The simulated exchange: a market that moves by itself in simulated time, and the channels it tells of it on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data_controller.errors import SimulatorError
from data_controller.simulator import state as layout
from data_controller.simulator.engine import SECOND, publish, run
from data_controller.simulator.instruments import instrument_names, start_price
from data_controller.simulator.matching import add_order, reduce_order
from data_controller.simulator.matching import take as take_from
from data_controller.simulator.numbers import amount_text, price_text, value
from data_controller.simulator.orderflow import fill, plan
from data_controller.simulator.slow import CANDLES_SENT, candle_texts, ticker_text
from data_controller.simulator.wire import look, send_body, send_check, send_snapshot, settle

FRAMES_PER_EVENT = (
    (1.0, 5.0, 20.0, 50.0, 100.0, 300.0, 1000.0, 10000.0),
    (2.42, 2.3, 1.95, 1.8, 1.64, 1.49, 1.4, 1.34),
)
"""Frames a second of an instrument -> frames that a market event makes on average, with a P0 book of 25, checksums
and trades; measured. The slower the events, the further the price moves between two of them."""

RATES = (0.001, 1e6)
"""The frames a second that a market can make."""

STEP_NS = 50_000_000
"""How often further venues look at the market."""

_PRECISIONS = {"P0": 0, "P1": 1, "P2": 2, "P3": 3, "P4": 4, "R0": layout.RAW}
_TIME_FRAMES_MIN = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}


class Frame(NamedTuple):
    """A frame as the exchange meant to send it."""

    data: bytes
    kind: int  # state.SNAPSHOT ... state.OTHER
    chan_id: int  # 0 where it belongs to none
    seq: int  # 0 where unnumbered
    ns: int


class Stepped(Protocol):
    """Who is told of every STEP_NS of the market's time."""

    def step(self, now_ns: int) -> None:
        """The market stands at `now_ns`, a multiple of STEP_NS."""


class TrueBook(NamedTuple):
    """A book as it is: entries as texts of the wire, best first.

    Aggregated: (price, count, signed amount). Raw: (order id, price, signed amount).
    """

    bids: list[tuple[str, str, str]]
    asks: list[tuple[str, str, str]]


class Latent(NamedTuple):
    """The planted signal of one instrument, a row a second."""

    ns: NDArray[np.int64]
    drift: NDArray[np.float64]  # relative per second
    fair: NDArray[np.float64]
    mid: NDArray[np.float64]


def _gap_s(rate: float, instruments: int) -> float:
    """Mean time between market events at which all instruments make `rate` frames a second."""
    per_event = np.interp(np.log10(rate / instruments), np.log10(FRAMES_PER_EVENT[0]), FRAMES_PER_EVENT[1])
    return float(per_event) / rate


class Exchange:
    """A seeded market and its channels. The same seed and settings give the same market, whoever listens.

    `instruments` is a number or symbols; `ticks_per_second` the frames a second that P0 books of 25 (with checksums)
    and trades of all of them make together, on average. `strength` is the correlation of the latent drift with the
    return over `horizon_s`. `dust` is the share of orders so small that their amounts are written with an exponent;
    with 0 there is no such amount at all. Raises SimulatorError for settings that no market can have.
    """

    def __init__(
        self,
        seed: int = 1,
        instruments: int | Sequence[str] = 8,
        *,
        ticks_per_second: float | None = None,
        strength: float = 0.3,
        horizon_s: float = 60.0,
        drift_time_s: float = 120.0,
        volatility_bps: float = 6.0,
        start_ns: int = 1_700_000_000 * SECOND,
        check_every: int = 10,
        depth: int = 220,
        dust: float = 0.002,
    ) -> None:
        self.symbols = instrument_names(instruments) if isinstance(instruments, int) else list(instruments)
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise SimulatorError(f"expected at least one instrument, each once, was {self.symbols}")
        if not 60 <= depth <= layout.ORDERS_MAX - 64:
            raise SimulatorError(f"expected a depth of 60 to {layout.ORDERS_MAX - 64} orders a side, was {depth}")
        n = len(self.symbols)
        rate = 20.0 * n if ticks_per_second is None else float(ticks_per_second)
        self._check_rate(rate)
        self.seed = seed
        self.strength, self.horizon_s = strength, horizon_s
        self.maintenance = False
        self.venues: list[Stepped] = []  # further readings of this market, each told of every STEP_NS
        self.start_ns = start_ns
        self._row_of = {symbol: i for i, symbol in enumerate(self.symbols)}
        self._queues: dict[int, list[Frame]] = {}
        self._keys: dict[int, tuple[str, int]] = {}  # candle channels: key, minutes a candle
        self._slow_text = 0  # ticker and candle channels, made in Python at whole seconds
        self._next_conn = 0
        self._next_chan = 17_000 + seed % 997
        self._state = layout.allocate(n, 64, 64, 1 << 16, 1 << 23)
        self._state.rng[0] = np.uint64((seed * 0x9E3779B97F4A7C15 + 0x1234567) & 0xFFFFFFFFFFFFFFFF)
        clock = self._state.clock[0]
        gap_s = _gap_s(rate, n)
        clock["now_ns"] = start_ns
        clock["event_ns"] = start_ns + round(gap_s * SECOND)
        clock["timer_ns"] = (start_ns // SECOND + 1) * SECOND
        clock["gap_ns"] = round(gap_s * SECOND)
        clock["order_id"] = 150_000_000_000 + (seed % 9973) * 1_000_000
        clock["trade_id"] = 1_400_000_000 + (seed % 9973) * 1_000
        clock["check_every"] = check_every
        clock["depth"] = depth
        clock["tau_s"] = drift_time_s
        clock["dust"] = dust
        for i, symbol in enumerate(self.symbols):
            price = start_price(symbol, i)
            digits = price * 1e8
            while digits >= 100_000.0:
                digits /= 10.0
            settings = plan(strength, horizon_s, drift_time_s, volatility_bps, 1e4 / digits, gap_s * n)
            market = self._state.market[i]
            market["fair"] = market["anchor"] = price
            market["drift_sd"], market["sigma"] = settings.drift_sd, settings.sigma
            market["latent_ns"] = start_ns
            unit = max(100, int(1500.0 / price * 1e8))
            lot = 10 ** max(0, len(str(unit)) - 10)
            market["unit"], market["lot"] = unit, lot
            market["least"] = 0 if dust else 100 * lot
            fill(self._state, i)
            last = -int(self._state.levels[i, 0, 0]["key"])
            for name in ("open_k", "high_k", "low_k", "last_k"):
                market[name] = last

    @property
    def now_ns(self) -> int:
        """The market's clock, Unix ns."""
        return int(self._state.clock[0]["now_ns"])

    @property
    def state(self) -> layout.State:
        """The market's arrays; those who read them do so between two calls, as channels make them grow."""
        return self._state

    @property
    def events(self) -> int:
        """Market events so far."""
        return int(self._state.clock[0]["events"])

    def instrument(self, symbol: str) -> int | None:
        """Row of a symbol, None where it is not traded here."""
        return self._row_of.get(symbol)

    # Time

    def advance(self, to_ns: int) -> None:
        """Run the market to `to_ns`; frames wait in their connection's queue (`take`)."""
        while self.now_ns < to_ns:
            stop = to_ns
            if self._slow_text:
                stop = min(to_ns, (self.now_ns // SECOND + 1) * SECOND)
            if self.venues:
                stop = min(stop, (self.now_ns // STEP_NS + 1) * STEP_NS)
            self._run(stop)
            if self._slow_text and stop % SECOND == 0:
                self._send_slow_texts()
            if self.venues and stop % STEP_NS == 0:
                for venue in self.venues:
                    venue.step(stop)
        self._drain()

    def advance_raw(self, to_ns: int) -> tuple[NDArray[np.void], NDArray[np.uint8]]:
        """Run the market to `to_ns`; returns the frames made (state.FRAME, `end` within the bytes) and their bytes.

        The queues get none of them. Tickers and candles are not sent.
        """
        self._drain()
        tables: list[NDArray[np.void]] = []
        texts: list[NDArray[np.uint8]] = []
        base = 0
        done = False
        while not done:
            done = bool(run(self._state, to_ns))
            clock = self._state.clock[0]
            frames = self._state.frames[: clock["n"]].copy()
            frames["end"] += base
            base += int(clock["pos"])
            tables.append(frames)
            texts.append(self._state.data[: clock["pos"]].copy())
            self._reset_arena(done)
        return np.concatenate(tables), np.concatenate(texts)

    def _run(self, to_ns: int) -> None:
        while not run(self._state, to_ns):
            empty = self._state.clock[0]["n"] == 0
            self._drain()
            if empty:
                self._widen_arena()

    def _reset_arena(self, done: bool) -> None:
        clock = self._state.clock[0]
        if not done and clock["n"] == 0:
            self._widen_arena()
        clock["n"] = clock["pos"] = 0

    def _widen_arena(self) -> None:
        frames, data = 2 * len(self._state.frames), 2 * len(self._state.data)
        self._state = self._state._replace(frames=np.zeros(frames, layout.FRAME), data=np.zeros(data, np.uint8))

    def rebase(self, now_ns: int) -> None:
        """Set the market's clock to a later time without letting anything happen in between."""
        clock = self._state.clock[0]
        delta = now_ns - self.now_ns
        if delta < 0:
            raise SimulatorError(f"expected a time not before the market's {self.now_ns}, was {now_ns}")
        for name in ("now_ns", "event_ns", "due_ns"):
            clock[name] += delta
        self._state.pending["due_ns"] += delta
        self._state.market["latent_ns"] += delta
        self._state.channels["sent_ns"] += delta
        clock["timer_ns"] = (now_ns // SECOND + 1) * SECOND

    def set_rate(self, ticks_per_second: float) -> None:
        """Let the market make about this many frames a second from here on, as `ticks_per_second` at its start."""
        self._check_rate(ticks_per_second)
        self._state.clock[0]["gap_ns"] = round(_gap_s(ticks_per_second, len(self.symbols)) * SECOND)

    @staticmethod
    def _check_rate(rate: float) -> None:
        least, most = RATES
        if not least <= rate <= most:
            raise SimulatorError(f"expected ticks_per_second of {least:.9g} to {most:.9g}, was {rate}")

    def halt(self, halted: bool) -> None:
        """Stop or resume trading; time goes on, heartbeats too."""
        clock = self._state.clock[0]
        if clock["halted"] and not halted:
            clock["event_ns"] = self.now_ns + int(clock["gap_ns"])
            self._state.market["latent_ns"] = self.now_ns
        clock["halted"] = int(halted)

    # Orders of people

    def sweep(self, i: int, buys: bool, amount: int, limit_k: int) -> int:
        """Match an order against the other side up to `limit_k`, half a tape of trades at most; returns what is left.

        Where something is left and the last call traded, another call may take more.
        """
        market = self._state.market[i]
        least, before = int(market["least"]), int(market["trades"])
        market["least"] = 0  # nobody gets more than asked for
        left = int(take_from(self._state, i, buys, amount, limit_k))
        market["least"] = least
        self._publish(i, before)
        return left

    def rest_order(self, i: int, side: int, k: int, order_id: int, amount: int) -> bool:
        """Let an order rest that crosses nothing; False where the book or the list of people's orders is full."""
        free = np.flatnonzero(self._state.owned == 0)
        if not len(free) or int(self._state.n_orders[i, side]) >= layout.ORDERS_MAX:
            return False
        self._state.owned[free[0]] = order_id
        add_order(self._state, i, side, k, order_id, amount)
        self._publish(i, int(self._state.market[i]["trades"]))
        return True

    def withdraw_order(self, i: int, side: int, order_id: int) -> int:
        """Take an order out of the book; returns the amount that rested, 0 where it is not there."""
        orders = self._state.orders[i, side, : int(self._state.n_orders[i, side])]
        found = np.flatnonzero(orders["id"] == order_id)
        self.disown(order_id)
        if not len(found):
            return 0
        amount = int(orders[found[0]]["amount"])
        reduce_order(self._state, i, side, int(found[0]), amount)
        self._publish(i, int(self._state.market[i]["trades"]))
        return amount

    def disown(self, order_id: int) -> None:
        """Forget that an order is a person's."""
        kept = self._state.owned[(self._state.owned != order_id) & (self._state.owned != 0)]
        self._state.owned[:] = 0
        self._state.owned[: len(kept)] = kept

    def next_order_id(self) -> int:
        """An id for a new order; ids only grow, and stand for time priority."""
        clock = self._state.clock[0]
        clock["order_id"] += 1
        return int(clock["order_id"])

    def _publish(self, i: int, trades_before: int) -> None:
        self._drain()
        publish(self._state, i, trades_before)
        self._drain()

    # Connections and channels

    def connect(self) -> int:
        """A new connection's number; numbers are never reused."""
        conn = self._next_conn
        self._next_conn += 1
        if conn >= len(self._state.connections):
            self._state = layout.grown(self._state, len(self._state.channels), 2 * conn)
        self._queues[conn] = []
        return conn

    def disconnect(self, conn: int) -> None:
        """Forget a connection and its channels."""
        for row in np.flatnonzero((self._state.channels["active"] == 1) & (self._state.channels["conn"] == conn)):
            self._release(int(row))
        self._queues.pop(conn, None)

    def set_flags(self, conn: int, flags: int) -> None:
        """Set what a connection's frames carry; its sequence starts anew when numbering is switched on."""
        row = self._state.connections[conn]
        if flags & layout.SEQ_ALL and not row["flags"] & layout.SEQ_ALL:
            row["seq"] = 0
        row["flags"] = flags

    def open_channel(
        self,
        conn: int,
        kind: int,
        symbol: str,
        precision: str = "P0",
        length: int = 25,
        slow: bool = False,
        key: str = "",
    ) -> int:
        """Open a channel; returns its id. Nothing is sent before `start_channel`."""
        free = np.flatnonzero(self._state.channels["active"] == 0)
        if not len(free):
            rows = len(self._state.channels)
            self._state = layout.grown(self._state, 2 * rows, len(self._state.connections))
            free = np.array([rows])
        row = int(free[0])
        i = self._row_of[symbol]
        n = int(self._state.n_by_instrument[i])
        if n == layout.CHANNELS_PER_INSTRUMENT:
            raise SimulatorError(f"expected at most {n} channels on {symbol}, was one more")
        self._next_chan += 1 + (self._next_chan * 31 + self.seed) % 97
        channel = self._state.channels[row]
        channel["active"], channel["kind"], channel["muted"] = 1, kind, 0
        channel["precision"], channel["length"], channel["slow"] = _PRECISIONS[precision], length, int(slow)
        channel["dirty"] = channel["since_check"] = 0
        channel["conn"], channel["instrument"] = conn, i
        channel["chan_id"], channel["sent_ns"] = self._next_chan, self.now_ns
        self._state.n_windows[row] = 0
        self._state.by_instrument[i, n] = row
        self._state.n_by_instrument[i] = n + 1
        if kind == layout.CANDLE_KIND:
            self._keys[row] = (key, _TIME_FRAMES_MIN[key.split(":")[1]])
        self._slow_text += kind in (layout.TICKER, layout.CANDLE_KIND)
        return int(self._next_chan)

    def start_channel(self, conn: int, chan_id: int) -> None:
        """Send a channel's snapshot (and the checksum of a book)."""
        row = self._find(conn, chan_id)
        kind = int(self._state.channels[row]["kind"])
        if kind in (layout.BOOK, layout.TRADES):
            send_snapshot(self._state, row)
        else:
            self._send_slow_text(row, snapshot=True)
        self._drain()

    def close_channel(self, conn: int, chan_id: int) -> None:
        """Close a channel of a connection."""
        self._release(self._find(conn, chan_id))

    def mute(
        self,
        conn: int,
        chan_ids: Sequence[int] | None,
        muted: bool,
        catch_up: bool = True,
        heartbeats: bool = True,
    ) -> None:
        """Silence channels of a connection (None: all), but for `heartbeats`, or let them speak again.

        What changed meanwhile is sent at the next event; with `catch_up` False it is never sent.
        """
        channels = self._state.channels
        for row in np.flatnonzero((channels["active"] == 1) & (channels["conn"] == conn)).tolist():
            if chan_ids is not None and int(channels[row]["chan_id"]) not in chan_ids:
                continue
            channels[row]["muted"] = int(muted) if heartbeats else 2 * int(muted)
            if not muted and not catch_up and channels[row]["kind"] == layout.BOOK:
                n0, n1 = look(self._state, row, 0), look(self._state, row, 1)
                settle(self._state, row, n0, n1)

    def check(self, conn: int, chan_id: int) -> None:
        """Send a book's checksum now."""
        send_check(self._state, self._find(conn, chan_id))
        self._drain()

    def take(self, conn: int) -> list[Frame]:
        """The frames that wait for a connection; the queue is empty afterwards."""
        frames = self._queues[conn]
        self._queues[conn] = []
        return frames

    def put(self, conn: int, data: bytes) -> None:
        """Line up an event frame made outside, behind what waits."""
        self._queues[conn].append(Frame(data, layout.EVENT, 0, 0, self.now_ns))

    def line_up(self, conn: int, *frames: Frame) -> None:
        """Line up frames made outside, behind what waits; nothing where the connection has ended."""
        if conn in self._queues:
            self._queues[conn].extend(frames)

    def connections(self) -> list[int]:
        """Numbers of the open connections."""
        return list(self._queues)

    def _find(self, conn: int, chan_id: int) -> int:
        channels = self._state.channels
        rows = np.flatnonzero((channels["active"] == 1) & (channels["conn"] == conn) & (channels["chan_id"] == chan_id))
        if not len(rows):
            raise SimulatorError(f"expected an open channel of connection {conn}, was {chan_id}")
        return int(rows[0])

    def _release(self, row: int) -> None:
        channel = self._state.channels[row]
        i = int(channel["instrument"])
        n = int(self._state.n_by_instrument[i])
        rows = [r for r in self._state.by_instrument[i, :n] if r != row]
        self._state.by_instrument[i, : n - 1] = rows
        self._state.n_by_instrument[i] = n - 1
        channel["active"] = 0
        self._keys.pop(row, None)
        self._slow_text -= int(channel["kind"]) in (layout.TICKER, layout.CANDLE_KIND)

    def _drain(self) -> None:
        clock = self._state.clock[0]
        n = int(clock["n"])
        if not n:
            return
        frames = self._state.frames[:n]
        text = self._state.data[: clock["pos"]].tobytes()
        start = 0
        chan_ids = self._state.channels["chan_id"][frames["row"]].tolist()
        columns = zip(*(frames[name].tolist() for name in ("end", "conn", "kind", "seq", "ns")), chan_ids, strict=True)
        queues = self._queues
        for end, conn, kind, seq, ns, chan_id in columns:
            queues[conn].append(Frame(text[start:end], kind, chan_id, seq, ns))
            start = end
        clock["n"] = clock["pos"] = 0

    # Truth

    def true_book(self, symbol: str, precision: str = "P0", length: int = 25) -> TrueBook:
        """The book of a symbol as it is now, as a subscriber of that precision and length should hold it."""
        row = len(self._state.channels) - 1
        if self._state.channels[row]["active"]:
            self._state = layout.grown(self._state, 2 * len(self._state.channels), len(self._state.connections))
            row = len(self._state.channels) - 1
        channel = self._state.channels[row]
        channel["instrument"], channel["precision"], channel["length"] = (
            self._row(symbol),
            _PRECISIONS[precision],
            length,
        )
        sides: list[list[tuple[str, str, str]]] = []
        for side in (0, 1):
            n = look(self._state, row, side)
            entries = []
            for entry in self._state.fresh[side, :n].tolist():
                key, amount, ref = entry
                price = price_text(key if side else -key)
                signed = amount_text(-amount if side else amount)
                entries.append((str(ref), price, signed) if precision == "R0" else (price, str(ref), signed))
            sides.append(entries)
        return TrueBook(*sides)

    def latent(self, symbol: str) -> Latent:
        """The drift, fair price and mid of a symbol at each whole second that is still remembered, oldest first."""
        i = self._row(symbol)
        seconds = int(self._state.clock[0]["seconds"])
        rows = len(self._state.latent)
        order = np.arange(max(0, seconds - rows), seconds) % rows
        log = self._state.latent[order, i]
        return Latent(log["ns"].copy(), log["drift"].copy(), log["fair"].copy(), log["mid"].copy())

    def top(self, symbol: str) -> tuple[float, float]:
        """Best bid and ask of a symbol."""
        i = self._row(symbol)
        levels = self._state.levels
        return float(value(-levels[i, 0, 0]["key"])), float(value(levels[i, 1, 0]["key"]))

    def _row(self, symbol: str) -> int:
        row = self._row_of.get(symbol)
        if row is None:
            raise SimulatorError(f"expected one of {', '.join(self.symbols[:12])}, was {symbol}")
        return row

    # Tickers and candles

    def _send_slow_texts(self) -> None:
        channels = self._state.channels
        for row in np.flatnonzero((channels["active"] == 1) & (channels["kind"] >= layout.TICKER)):
            if channels[row]["dirty"] and not channels[row]["muted"]:
                self._send_slow_text(int(row), snapshot=False)
        self._drain()

    def _send_slow_text(self, row: int, snapshot: bool) -> None:
        channel = self._state.channels[row]
        i = int(channel["instrument"])
        if channel["kind"] == layout.TICKER:
            body = ticker_text(self._state, i)
        else:
            candles = candle_texts(self._state, i, self._keys[row][1])
            if snapshot:
                body = f"[{','.join(candles[:CANDLES_SENT])}]"
            elif candles:
                body = candles[0]
            else:
                return
        channel["dirty"] = 0
        kind = layout.SNAPSHOT if snapshot else layout.OTHER
        send_body(self._state, row, kind, np.frombuffer(body.encode(), np.uint8))

    def digest(self) -> str:
        """SHA-256 of every book and every instrument's state: equal for equal seeds on any machine."""
        state = self._state
        sha = hashlib.sha256()
        for array in (state.n_orders, state.orders, state.market, state.tape, state.rng):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()
