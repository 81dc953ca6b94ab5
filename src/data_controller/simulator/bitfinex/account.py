"""Accounts that trade on the simulated market: wallets, orders and their fills, exact to the last digit.

An order rests in the market's own book, is met by its flow in price-time priority, and takes from it. Wallets are
decimals: what one side of a trade pays the wallet loses, and the fee is taken from what it receives. Nothing is
rounded, so balances are conserved exactly.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any

from data_controller.errors import SimulatorError
from data_controller.simulator import view
from data_controller.simulator.exchange import Exchange
from data_controller.simulator.history import grid_of

MAKER_FEE, TAKER_FEE = Decimal("0.001"), Decimal("0.002")
POST_ONLY = 4096
UNIT = Decimal("1e-8")
CLOSED_KEPT = 10_000
TRADES_KEPT = 100_000
LIMIT, MARKET, STOP, STOP_LIMIT, IOC, FOK = (
    f"EXCHANGE {name}" for name in ("LIMIT", "MARKET", "STOP", "STOP LIMIT", "IOC", "FOK")
)
TYPES = (LIMIT, MARKET, STOP, STOP_LIMIT, IOC, FOK)
_FIVE = Context(prec=5, rounding=ROUND_HALF_EVEN)
_EXACT = Context(prec=60)
_FAR_K = 1 << 40
MIN_SIZE, MAX_SIZE = Decimal("0.00004"), Decimal("100000000.0")
"""Amounts of an order, as `conf` tells them; as many as people may have at once fit the book's 64 bits."""
_WHOLE_MAX = (1 << 53) - 1


class RefusedError(Exception):
    """A request that the exchange does not carry out; its text is the answer's."""


@dataclass(slots=True)
class Order:
    """An order from its arrival to its end. Amounts are whole numbers of 1e-8, above 0 where it buys."""

    id: int
    account: Account
    i: int
    type: str
    amount: int  # what is left
    original: int
    price: Decimal
    trigger: Decimal
    k: int  # grid index of the price at which it may rest or take at worst
    cid: int
    gid: int | None
    flags: int
    created_ms: int
    updated_ms: int
    status: str = "ACTIVE"
    resting: bool = False
    waiting: bool = False  # a stop that was not triggered yet
    spent: Decimal = Decimal(0)  # price times amount of its fills
    fills: list[tuple[Decimal, int]] = field(default_factory=list)

    @property
    def buys(self) -> bool:
        """Whether it buys."""
        return self.original > 0

    @property
    def side(self) -> int:
        """The side of the book that it rests on."""
        return 0 if self.buys else 1

    @property
    def filled(self) -> int:
        """What was filled, signed."""
        return self.original - self.amount

    @property
    def average(self) -> Decimal:
        """Average price of its fills, 0 before the first."""
        return self.spent / (abs(self.filled) * UNIT) if self.filled else Decimal(0)


@dataclass(slots=True)
class Fill:
    """One trade of an order."""

    id: int
    order: Order
    mts: int
    amount: int  # signed
    price: Decimal
    maker: bool
    fee: Decimal
    currency: str


@dataclass(slots=True)
class Account:
    """A key, its secret, its wallets."""

    key: str
    secret: str
    number: int
    can_trade: bool = True
    balances: dict[str, Decimal] = field(default_factory=dict)
    last_nonce: int = 0
    orders: dict[int, Order] = field(default_factory=dict)
    closed: deque[Order] = field(default_factory=lambda: deque(maxlen=CLOSED_KEPT))
    fills: deque[Fill] = field(default_factory=lambda: deque(maxlen=TRADES_KEPT))


def read_accounts(path: Path) -> list[Account]:
    """Accounts of a JSON file: `{"keys": [{"key", "secret", "balances": {"USD": "1000"}, "can_trade"}]}`."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["keys"]
        return [
            Account(
                row["key"],
                row["secret"],
                1_000_000 + number,
                bool(row.get("can_trade", True)),
                {name: Decimal(str(amount)) for name, amount in row.get("balances", {}).items()},
            )
            for number, row in enumerate(rows)
        ]
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as cause:
        raise SimulatorError(f"expected keys, secrets and balances in {path}, was {cause!r}") from cause


class Desk:
    """Carries orders to the market and its fills to the wallets; `told` hears of all that becomes of an order."""

    def __init__(self, exchange: Exchange, accounts: list[Account], told: Callable[[str, Order], None]) -> None:
        self.exchange = exchange
        self.accounts = {account.key: account for account in accounts}
        self._told = told
        self._resting: dict[int, Order] = {}
        self._stops: dict[int, Order] = {}
        self._seen = [int(market["trades"]) for market in exchange.state.market]

    # What an account may ask

    def submit(self, account: Account, i: int, fields: dict[str, Any]) -> Order:
        """A new order; RefusedError where it is none that the exchange takes."""
        kind = str(fields.get("type", "")).upper()
        if kind not in TYPES:
            raise RefusedError(f"Invalid order: type {kind or 'missing'} is not one of {', '.join(TYPES)}")
        amount = self._amount(i, fields.get("amount"))
        price = Decimal(0) if kind == MARKET else _price(fields.get("price"))
        trigger = Decimal(0)
        if kind in (STOP, STOP_LIMIT):
            trigger = price
            price = _price(fields.get("price_aux_limit")) if kind == STOP_LIMIT else Decimal(0)
        now = self.exchange.now_ns // 1_000_000
        order = Order(
            id=self.exchange.next_order_id(),
            account=account,
            i=i,
            type=kind,
            amount=amount,
            original=amount,
            price=price,
            trigger=trigger,
            k=self._limit_k(amount > 0, price),
            cid=whole(fields.get("cid"), "cid", now),
            gid=None if fields.get("gid") is None else whole(fields["gid"], "gid"),
            flags=whole(fields.get("flags"), "flags", 0),
            created_ms=now,
            updated_ms=now,
            waiting=bool(trigger),
        )
        self._afford(order)
        account.orders[order.id] = order
        if order.waiting:
            self._stops[order.id] = order
        else:
            self._work(order)
        self._told("submit", order)
        return order

    def cancel(self, order: Order, why: str = "CANCELED") -> None:
        """Take an open order back."""
        self.settle()
        if order.id in order.account.orders:
            self._close(order, why)
            self._told("cancel", order)

    def update(self, order: Order, fields: dict[str, Any]) -> None:
        """Change an open order's price or amount; it keeps its id and goes through the book again."""
        self.settle()
        if order.id not in order.account.orders:
            raise RefusedError("Order not found.")
        # Everything is read before anything changes: a refused update leaves the order as it is.
        wanted, price, trigger = order.amount, order.price, order.trigger
        if fields.get("delta") is not None:
            wanted += self._amount(order.i, fields["delta"], Decimal(0))
        elif fields.get("amount") is not None:
            wanted = self._amount(order.i, fields["amount"], Decimal(0))
        if wanted == 0 or (wanted > 0) != order.buys:
            raise RefusedError("Invalid order: amount must keep its sign")
        if abs(wanted) * UNIT > MAX_SIZE:
            raise self._too_large(order.i)
        if fields.get("price") is not None:
            if order.waiting:
                trigger = _price(fields["price"])
            else:
                price = _price(fields["price"])
        if fields.get("price_aux_limit") is not None and order.type == STOP_LIMIT:
            price = _price(fields["price_aux_limit"])
        old = order.amount, order.original, order.price, order.k, order.trigger
        order.original += wanted - order.amount
        order.amount, order.price, order.trigger = wanted, price, trigger
        order.k = self._limit_k(order.buys, price)
        try:
            self._afford(order)
        except RefusedError:
            order.amount, order.original, order.price, order.k, order.trigger = old
            raise
        order.updated_ms = self.exchange.now_ns // 1_000_000
        if order.resting:
            self._leave(order)
            self._work(order)
        self._told("update", order)

    def available(self, account: Account, currency: str, but: Order | None = None) -> Decimal:
        """What a wallet holds beyond what open orders keep back (those of `but` not counted)."""
        free = account.balances.get(currency, Decimal(0))
        for order in account.orders.values():
            if order is not but:
                kept, what = self._kept(order)
                free -= kept if what == currency else 0
        return free

    # Time

    def step(self) -> None:
        """Bring fills to their wallets, then let stops go whose price was reached."""
        self.settle()
        for order in list(self._stops.values()):
            last = value_of(int(self.exchange.state.market[order.i]["last_k"]))
            if (last >= order.trigger) if order.buys else (last <= order.trigger):
                del self._stops[order.id]
                order.waiting = False
                self._told("trigger", order)
                try:
                    self._afford(order)
                except RefusedError:
                    self._close(order, "CANCELED was: INSUFFICIENT BALANCE (U1)")
                else:
                    self._work(order)
                self._told("worked", order)

    def settle(self) -> None:
        """Bring what resting orders were met with since the last time to their wallets."""
        state = self.exchange.state
        for i, total in enumerate(state.market["trades"].tolist()):
            if total == self._seen[i]:
                continue
            for trade in view.trades_since(self.exchange, i, self._seen[i]):
                order = self._resting.get(int(state.makers[i, trade.number & (len(state.makers[i]) - 1)]))
                if order is not None:
                    self._fill(order, trade, -trade.amount, maker=True)
            self._seen[i] = total

    # How an order is worked

    def _work(self, order: Order) -> None:
        """Take what can be taken, then rest, or end, as its type says; an order that this fails for is none."""
        try:
            self._match(order)
        except Exception:
            if order.id in order.account.orders:
                self._close(order, "CANCELED")
            raise

    def _match(self, order: Order) -> None:
        self.settle()
        exchange, i = self.exchange, order.i
        best = view.side(exchange, i, 1 - order.side)
        crosses = bool(best) and (next(iter(best)) <= order.k if order.buys else next(iter(best)) >= order.k)
        if order.flags & POST_ONLY and crosses and order.type in (LIMIT, STOP_LIMIT):
            self._close(order, "POSTONLY CANCELED")
            return
        if order.type == FOK and self._reachable(order) < abs(order.amount):
            self._close(order, "FILLORKILL CANCELED")
            return
        while crosses and order.amount:
            number = self._seen[i]
            exchange.sweep(i, order.buys, abs(order.amount), order.k)
            taken = view.trades_since(exchange, i, number)
            for trade in taken:
                self._fill(order, trade, trade.amount, maker=False)
            self.settle()  # own orders may have been on the other side
            crosses = bool(taken)
        if not order.amount or order.id not in order.account.orders:
            return
        if order.type in (LIMIT, STOP_LIMIT) and exchange.rest_order(
            i, order.side, order.k, order.id, abs(order.amount)
        ):
            order.resting = True
            self._resting[order.id] = order
        else:
            self._close(order, "IOC CANCELED" if order.type == IOC else "CANCELED")

    def _reachable(self, order: Order) -> int:
        levels = view.side(self.exchange, order.i, 1 - order.side)
        return sum(a for k, a in levels.items() if (k <= order.k if order.buys else k >= order.k))

    def _fill(self, order: Order, trade: view.Trade, amount: int, maker: bool) -> None:
        account, price = order.account, value_of(trade.k)
        base, quote = view.split(self.exchange.symbols[order.i])
        size = abs(amount) * UNIT
        cost = _EXACT.multiply(price, size)
        got, paid = ((base, size), (quote, cost)) if order.buys else ((quote, cost), (base, size))
        fee = _EXACT.multiply(got[1], MAKER_FEE if maker else TAKER_FEE)
        account.balances[paid[0]] = _EXACT.subtract(account.balances.get(paid[0], Decimal(0)), paid[1])
        account.balances[got[0]] = _EXACT.add(account.balances.get(got[0], Decimal(0)), _EXACT.subtract(got[1], fee))
        order.amount -= amount
        order.spent = _EXACT.add(order.spent, cost)
        order.fills.append((price, amount))
        order.updated_ms = trade.mts
        account.fills.append(Fill(trade.id, order, trade.mts, amount, price, maker, fee, got[0]))
        if order.amount == 0:
            self._close(order, f"EXECUTED @ {plain(price)}({plain(amount * UNIT)})")
        else:
            order.status = f"PARTIALLY FILLED @ {plain(price)}({plain(amount * UNIT)})"
        self._told("fill", order)

    def _leave(self, order: Order) -> None:
        if order.resting:
            self.exchange.withdraw_order(order.i, order.side, order.id)
            order.resting = False
            self._resting.pop(order.id, None)

    def _close(self, order: Order, status: str) -> None:
        self._leave(order)
        self._stops.pop(order.id, None)
        order.waiting = False
        if order.filled and order.amount:
            status = f"{status} was: {order.status}"
        order.status = status
        order.updated_ms = max(order.updated_ms, self.exchange.now_ns // 1_000_000)
        order.account.orders.pop(order.id, None)
        order.account.closed.append(order)

    # Money

    def _kept(self, order: Order) -> tuple[Decimal, str]:
        """What an open order keeps back, and of which currency."""
        base, quote = view.split(self.exchange.symbols[order.i])
        size = abs(order.amount) * UNIT
        if not order.buys:
            return size, base
        return _EXACT.multiply(order.price or order.trigger, size), quote

    def _afford(self, order: Order) -> None:
        kept, currency = self._kept(order)
        if order.buys and not order.price and not order.waiting:
            kept = self._cost_now(order)
        if self.available(order.account, currency, order) < kept:
            side = "BUY" if order.buys else "SELL"
            text = f"{plain(abs(order.amount) * UNIT)} {self.exchange.symbols[order.i].removeprefix('t')}"
            raise RefusedError(f"Invalid order: not enough exchange balance for {side} {text} at {plain(order.price)}")

    def _cost_now(self, order: Order) -> Decimal:
        """What taking the amount from the book as it stands would cost."""
        left, cost = abs(order.amount), Decimal(0)
        for k, amount in view.side(self.exchange, order.i, 1 - order.side).items():
            part = min(left, amount)
            cost = _EXACT.add(cost, _EXACT.multiply(value_of(k), part * UNIT))
            left -= part
            if not left:
                break
        return cost

    def _amount(self, i: int, given: Any, least: Decimal = MIN_SIZE) -> int:
        """An amount in 1e-8, cut to what the instrument's lot can carry."""
        number = _number(given, "amount")
        if abs(number) > MAX_SIZE:
            raise self._too_large(i)
        lot = int(self.exchange.state.market[i]["lot"])
        whole = int((abs(number) / UNIT).to_integral_value(ROUND_DOWN)) // lot * lot
        if not whole or abs(number) < least:
            pair = self.exchange.symbols[i].removeprefix("t")
            raise RefusedError(f"Invalid order: minimum size for {pair} is {MIN_SIZE}")
        return whole if number > 0 else -whole

    def _too_large(self, i: int) -> RefusedError:
        pair = self.exchange.symbols[i].removeprefix("t")
        return RefusedError(f"Invalid order: maximum size for {pair} is {MAX_SIZE}")

    @staticmethod
    def _limit_k(buys: bool, price: Decimal) -> int:
        if price:
            return grid_of(price)
        return _FAR_K if buys else 1


def value_of(k: int) -> Decimal:
    """The exact price at a grid index."""
    digits, power = view.digits_of(k)
    return Decimal(digits).scaleb(power)


def plain(number: Decimal) -> str:
    """A decimal's digits without an exponent and without zeros that say nothing."""
    text = format(number, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


def _number(given: Any, name: str) -> Decimal:
    try:
        number = Decimal(str(given))
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or not number:
        raise RefusedError(f"{name}: invalid")
    return number


def _price(given: Any) -> Decimal:
    """A price with five significant digits, as the exchange rounds it."""
    number = _number(given, "price")
    if number < UNIT or number > Decimal("1e12"):
        raise RefusedError("price: invalid")
    return value_of(grid_of(_FIVE.plus(number)))


def whole(given: Any, name: str, default: int | None = None) -> int:
    """A whole number of at most 53 bits; `default` where none is given, RefusedError where it is none."""
    try:
        number = default if given is None else int(given)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or abs(number) > _WHOLE_MAX:
        raise RefusedError(f"{name}: invalid")
    return number
