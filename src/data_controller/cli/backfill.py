"""`backfill`: history from an exchange into the lake."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from data_controller.cli import summary
from data_controller.cli._options import Json, OptionalConfigFile, StateDir, load_config
from data_controller.cli._output import console, show

if TYPE_CHECKING:
    from data_controller.config import Config
    from data_controller.reference.backfill import Job
    from data_controller.reference.history import Source

_S = 10**9


def moment_ns(written: str | int) -> int:
    """Unix ns of `2026-11-25`, `2026-11-25T12:00` or with a zone (`...+01:00`, `...Z`); UTC where none is said."""
    text = str(written).strip()
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"expected a time such as 2026-11-25 or 2026-11-25T12:00Z, was {text!r}") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    since_1970 = when - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since_1970.days * 86_400 + since_1970.seconds) * _S + since_1970.microseconds * 1000


def backfill(
    exchange: Annotated[
        str, typer.Argument(metavar="EXCHANGE", help="bitfinex, binance, kraken, or any exchange that ccxt knows.")
    ],
    instrument: Annotated[
        str, typer.Argument(metavar="INSTRUMENT", help="A name such as BTC/USD, or the exchange's own symbol.")
    ],
    what: Annotated[Literal["candles", "trades", "tickers"], typer.Option(help="What to fetch.")],
    begin: Annotated[
        int, typer.Option("--from", parser=moment_ns, metavar="TIME", help="First moment (UTC), such as 2026-11-25.")
    ],
    end: Annotated[
        int | None, typer.Option("--to", parser=moment_ns, metavar="TIME", help="End; without it, now.")
    ] = None,
    width: Annotated[str, typer.Option(metavar="WIDTH", help="Of candles: 1m, 15m, 1h, 1d ...")] = "1m",
    config: OptionalConfigFile = None,
    state: StateDir = None,
    lake: Annotated[
        str, typer.Option(metavar="URI", help="The lake: a folder or an s3:// address; without it, the config's.")
    ] = "",
    url: Annotated[
        str, typer.Option(metavar="BASE", help="Ask this address instead of the exchange's own, a simulator's say.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Fetch history into the lake. Run again, or after a kill, it asks only for what is not there yet."""
    import asyncio
    import time

    from data_controller.lake.backfill_sink import BackfillSink
    from data_controller.lake.store import Store
    from data_controller.reference.backfill import Job, planned
    from data_controller.reference.backfill import backfill as run

    settings = load_config(config)
    state_dir = (state or settings.state_dir).expanduser()
    uri = lake or settings.lake.uri or str(state_dir / "lake")
    now_ns = time.time_ns()
    symbol = _symbol(exchange, instrument)
    wanted = Job(exchange, symbol, what, begin, end or now_ns, width if what == "candles" else "")
    job = planned(wanted, now_ns)

    async def main() -> dict[str, Any]:
        async with _source(job, settings, url) as source:
            with _bar(job) as advance:
                return await run(job, source, sink, advance)

    store = Store(uri, settings.lake)
    sink = BackfillSink(store, None if store.is_local else state_dir / "backfill")
    result = {"lake": uri, **asyncio.run(main())}
    show(result, as_json, lambda value: summary.table(value, f"backfill of {exchange} {symbol}"))


def _symbol(exchange: str, instrument: str) -> str:
    """How the lake names the instrument: by the venue's symbol where the venue is native, else by its name."""
    from data_controller.exchanges.naming import parse, symbol_of
    from data_controller.reference.native import NATIVE

    return symbol_of(exchange, instrument) if exchange in NATIVE else str(parse(instrument))


@contextlib.asynccontextmanager
async def _source(job: Job, settings: Config, url: str) -> AsyncIterator[Source]:
    from data_controller.reference.native import NATIVE

    rest = settings.ingest.rest
    native = NATIVE.get(job.exchange)
    if native is not None:
        from data_controller.exchanges.rest_limits import REST_LIMITS, UNKNOWN_VENUE
        from data_controller.ingest.rest import RestClient

        async with RestClient(REST_LIMITS, UNKNOWN_VENUE, rest) as client:
            yield native(client, job.exchange, job.instrument, job.what, job.width, url)
        return
    from data_controller.reference.ccxt_rest import CcxtHistory, close, make

    exchange = make(job.exchange, url, rest.timeout_s)
    try:
        yield CcxtHistory(exchange, job.instrument, job.what, job.width, rest)
    finally:
        await close(exchange)


@contextlib.contextmanager
def _bar(job: Job) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over the span, with rows and the time that is left; on a terminal only."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    out = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        rows = 0
        task = progress.add_task(f"{job.exchange} {job.instrument} {job.what}", total=job.to_ns - job.from_ns, rows=0)

        def advance(done_ns: int, more: int) -> None:
            nonlocal rows
            rows += more
            progress.update(task, advance=done_ns, rows=rows)

        yield advance
