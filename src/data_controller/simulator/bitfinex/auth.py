"""Bitfinex's authenticated REST: signatures and nonces, wallets, orders, trades, and a log of every request."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from data_controller.simulator.bitfinex.account import UNIT, Account, Desk, Fill, Order, RefusedError, plain, whole
from data_controller.simulator.bitfinex.rest import BAD_PARAMS, error
from data_controller.simulator.dialect import Answer, Request, compact
from data_controller.simulator.exchange import Exchange

BAD_KEY, BAD_NONCE, BAD_ORDER = 10100, 10114, 10001
LOG_KEPT = 10_000
NONCE_DIGITS = 18
PREFIX = "/v2/auth/"


class Raw(str):
    """Digits that go into JSON as they are."""

    __slots__ = ()


class AuthRest:
    """Answers POST /v2/auth/...; `log` keeps each request with what became of the orders, and each fill."""

    def __init__(self, exchange: Exchange, accounts: list[Account], log: Path | None = None) -> None:
        self.exchange = exchange
        self.desk = Desk(exchange, accounts, self._told)
        self.log: deque[dict[str, Any]] = deque(maxlen=LOG_KEPT)
        self._file: IO[str] | None = log.open("a", encoding="utf-8") if log else None
        self._touched: list[Order] = []
        self._busy = False
        self._routes: dict[str, Callable[[Account, dict[str, Any]], Any]] = {
            "r/wallets": self._wallets,
            "r/orders": self._open_orders,
            "r/orders/hist": self._closed_orders,
            "r/trades/hist": self._trades,
            "r/positions": lambda account, body: [],
            "r/info/user": self._user,
            "r/permissions": self._permissions,
            "r/summary": self._summary,
            "w/order/submit": self._submit,
            "w/order/update": self._update,
            "w/order/cancel": self._cancel,
            "w/order/cancel/multi": self._cancel_many,
        }

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            self._file.close()

    def answer(self, request: Request) -> Answer:
        """The answer to a signed request."""
        account = self.desk.accounts.get(request.headers.get("bfx-apikey", ""))
        if account is None:
            return error(BAD_KEY, "apikey: invalid")
        nonce = request.headers.get("bfx-nonce", "")
        signed = f"/api{request.path}{nonce}".encode() + request.body
        expected = hmac.new(account.secret.encode(), signed, hashlib.sha384).hexdigest()
        if not hmac.compare_digest(expected.encode(), request.headers.get("bfx-signature", "").lower().encode()):
            return error(BAD_KEY, "apikey: digest invalid")
        number = len(nonce) <= NONCE_DIGITS and nonce.isascii() and nonce.isdigit()
        if not number or int(nonce) <= account.last_nonce:
            return error(BAD_NONCE, "nonce: small")
        account.last_nonce = int(nonce)
        return self._signed(account, request)

    def _signed(self, account: Account, request: Request) -> Answer:
        path = request.path.removeprefix(PREFIX)
        self._touched, self._busy = [], True
        body: Any = None
        try:
            body = json.loads(request.body or b"{}")
            if not isinstance(body, dict):
                raise RefusedError("params: invalid")
            if path.startswith("w/") and not account.can_trade:
                answer = error(BAD_KEY, "apikey: permission invalid")
            else:
                self.desk.settle()
                answer = Answer(200, {}, _json(self._routed(account, path, body)))
        except RefusedError as refusal:
            code = BAD_PARAMS if str(refusal).endswith(": invalid") else BAD_ORDER
            answer = error(code, str(refusal))
        except (ValueError, RecursionError):  # no JSON, or nested without end
            body, answer = None, error(BAD_PARAMS, "params: invalid")
        except LookupError:
            body, answer = None, error(BAD_PARAMS, "request: invalid", 404)
        finally:
            self._busy = False
        self._note(
            {
                "key": account.key,
                "path": path,
                "body": body,
                "status": answer.status,
                "answer": json.loads(answer.body) if path.startswith("w/") else None,
                "orders": [_state(order) for order in {order.id: order for order in self._touched}.values()],
            }
        )
        return answer

    def _routed(self, account: Account, path: str, body: dict[str, Any]) -> Any:
        plain_route = self._routes.get(path)
        if plain_route is not None:
            return plain_route(account, body)
        parts = path.split("/")
        if parts[:2] == ["r", "orders"] and len(parts) in (3, 4):
            found = self._closed_orders(account, body) if len(parts) == 4 else self._open_orders(account, body)
            return [row for row in found if row[3] == parts[2]]
        if parts[:2] == ["r", "trades"] and len(parts) == 4 and parts[3] == "hist":
            return self._trades(account, body, parts[2])
        if parts[:2] == ["r", "order"] and len(parts) == 4 and parts[3] == "trades":
            symbol, _, number = parts[2].rpartition(":")
            wanted = whole(number, "id")
            return [_trade(self.exchange, f) for f in account.fills if f.order.id == wanted and symbol][::-1]
        raise LookupError(path)

    # Reading

    def _wallets(self, account: Account, body: dict[str, Any]) -> Any:
        rows = []
        for currency, balance in sorted(account.balances.items()):
            free = self.desk.available(account, currency)
            rows.append(["exchange", currency, Raw(plain(balance)), 0, Raw(plain(free)), None, None])
        return rows

    def _open_orders(self, account: Account, body: dict[str, Any]) -> Any:
        wanted = _wholes(body, "id")
        rows = sorted(account.orders.values(), key=lambda order: -order.id)
        return [self._row(order) for order in rows if not wanted or order.id in wanted]

    def _closed_orders(self, account: Account, body: dict[str, Any]) -> Any:
        wanted, (start, end, limit) = _wholes(body, "id"), _span(body, 25, 2500)
        rows = sorted(account.closed, key=lambda order: (-order.updated_ms, -order.id))
        keep = [o for o in rows if start <= o.updated_ms <= end and (not wanted or o.id in wanted)]
        return [self._row(order) for order in keep[:limit]]

    def _trades(self, account: Account, body: dict[str, Any], symbol: str = "") -> Any:
        start, end, limit = _span(body, 25, 2500)
        found = [f for f in account.fills if start <= f.mts <= end]
        if symbol:
            found = [f for f in found if self.exchange.symbols[f.order.i] == symbol]
        ascending = body.get("sort") == 1
        found = found[:limit] if ascending else found[::-1][:limit]
        return [_trade(self.exchange, f) for f in found]

    def _user(self, account: Account, body: dict[str, Any]) -> Any:
        now = self.exchange.now_ns // 1_000_000
        return [account.number, "trader@example.org", account.key, now, 1, 1, None, "UTC", None, 0, 0]

    def _permissions(self, account: Account, body: dict[str, Any]) -> Any:
        names = ("account", "history", "orders", "positions", "funding", "settings", "wallets", "withdraw")
        return [[name, int(name != "withdraw"), int(name == "orders" and account.can_trade)] for name in names]

    def _summary(self, account: Account, body: dict[str, Any]) -> Any:
        rates = [[0.001, 0, 0, None, None, -0.0002], [0.002, 0.002, 0.002, None, None, 0.00065]]
        return [None, None, None, None, rates, [[], 0], [None, 0], None, None, {"leo_lev": 0, "leo_amount_avg": 0}]

    # Writing

    def _submit(self, account: Account, body: dict[str, Any]) -> Any:
        i = self.exchange.instrument(str(body.get("symbol", "")))
        if i is None:
            raise RefusedError("symbol: invalid")
        order = self.desk.submit(account, i, body)
        return self._notice("on-req", [self._row(order)], "Submitting 1 orders.")

    def _update(self, account: Account, body: dict[str, Any]) -> Any:
        order = self._known(account, body)
        self.desk.update(order, body)
        return self._notice("ou-req", self._row(order), "Submitting update to order.")

    def _cancel(self, account: Account, body: dict[str, Any]) -> Any:
        order = self._known(account, body)
        self.desk.cancel(order)
        text = f"Submitted for cancellation; waiting for confirmation (ID: {order.id})."
        return self._notice("oc-req", self._row(order), text)

    def _cancel_many(self, account: Account, body: dict[str, Any]) -> Any:
        ids, gids = _wholes(body, "id"), _wholes(body, "gid")
        cids = {whole(pair[0] if isinstance(pair, list) and pair else None, "cid") for pair in _listed(body, "cid")}
        chosen = [
            order
            for order in list(account.orders.values())
            if body.get("all") or order.id in ids or order.cid in cids or (order.gid is not None and order.gid in gids)
        ]
        for order in chosen:
            self.desk.cancel(order)
        return self._notice("oc_multi-req", [self._row(o) for o in chosen], f"Submitting {len(chosen)} order cancels.")

    def _known(self, account: Account, body: dict[str, Any]) -> Order:
        if body.get("id") is not None:
            order = account.orders.get(whole(body["id"], "id"))
        else:
            cid = None if body.get("cid") is None else whole(body["cid"], "cid")
            order = next((o for o in account.orders.values() if o.cid == cid), None)
        if order is None:
            raise RefusedError("Order not found.")
        return order

    # Rows

    def _notice(self, purpose: str, rows: Any, text: str) -> Any:
        return [self.exchange.now_ns // 1_000_000, purpose, None, None, rows, None, "SUCCESS", text]

    def _row(self, order: Order) -> list[Any]:
        amount, original = (Raw(plain(value * UNIT)) for value in (order.amount, order.original))
        stop = order.trigger and order.type in ("EXCHANGE STOP", "EXCHANGE STOP LIMIT")
        price = order.trigger if stop else order.price
        row: list[Any] = [order.id, order.gid, order.cid, self.exchange.symbols[order.i]]
        row += [order.created_ms, order.updated_ms, amount, original, order.type, None, None, None]
        row += [order.flags, order.status, None, None, Raw(plain(price)), Raw(plain(round(order.average, 12))), 0]
        row += [Raw(plain(order.price if stop else price * 0)), None, None, None, 0, 0, None, None, None, "API>BFX"]
        return [*row, None, None, {"$F7": 1} if order.flags & 4096 else {}]

    # The log

    def _told(self, what: str, order: Order) -> None:
        self._touched.append(order)
        if not self._busy or what == "fill":
            self._note({"event": what, "key": order.account.key, "orders": [_state(order)]})

    def _note(self, entry: dict[str, Any]) -> None:
        entry = {"ns": self.exchange.now_ns} | entry
        self.log.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
            self._file.flush()


def _state(order: Order) -> dict[str, Any]:
    amount, original = (plain(value * UNIT) for value in (order.amount, order.original))
    return {"id": order.id, "cid": order.cid, "amount": amount, "original": original, "status": order.status}


def _trade(exchange: Exchange, fill: Fill) -> list[Any]:
    order = fill.order
    row: list[Any] = [fill.id, exchange.symbols[order.i], fill.mts, order.id, Raw(plain(fill.amount * UNIT))]
    row += [Raw(plain(fill.price)), order.type, Raw(plain(order.price)), 1 if fill.maker else -1]
    return [*row, Raw(plain(-fill.fee)), fill.currency, order.cid]


def _listed(body: dict[str, Any], name: str) -> list[Any]:
    """A field that is a list, empty where it is not given."""
    given = body.get(name)
    if given is not None and not isinstance(given, list):
        raise RefusedError(f"{name}: invalid")
    return given or []


def _wholes(body: dict[str, Any], name: str) -> set[int]:
    return {whole(number, name) for number in _listed(body, name)}


def _span(body: dict[str, Any], limit: int, most: int) -> tuple[int, int, int]:
    start, end, wanted = (whole(body.get(name), name, 0) for name in ("start", "end", "limit"))
    return start, end or 1 << 60, min(max(1, wanted or limit), most)


def _json(value: Any) -> bytes:
    """JSON in which a Raw stands as its digits."""
    if isinstance(value, Raw):
        return value.encode()
    if isinstance(value, list | tuple):
        return b"[" + b",".join(_json(item) for item in value) + b"]"
    return compact(value)
