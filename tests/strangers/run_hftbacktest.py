"""hftbacktest reads one of our npz files to its end and says the book it ends with."""

import json
import sys

import numpy as np
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data import validate_event_order
from hftbacktest.types import event_dtype

path, tick, low, high = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
data = np.load(path)["data"]
assert data.dtype == event_dtype, data.dtype
validate_event_order(data)
asset = (
    BacktestAsset()
    .data([path])
    .linear_asset(1.0)
    .constant_order_latency(0, 0)
    .risk_adverse_queue_model()
    .no_partial_fill_exchange()
    .trading_value_fee_model(0.0, 0.0)
    .tick_size(tick)
    .lot_size(1e-9)
    .last_trades_capacity(1000)
)
backtest = HashMapMarketDepthBacktest([asset])
turns = 0
while backtest.elapse(10**9) == 0:
    turns += 1
depth = backtest.depth(0)
ticks = range(round(low / tick), round(high / tick))
bids = [[at * tick, float(qty)] for at in ticks if (qty := depth.bid_qty_at_tick(at)) > 0]
asks = [[at * tick, float(qty)] for at in ticks if (qty := depth.ask_qty_at_tick(at)) > 0]
print(json.dumps({"turns": turns, "bids": bids, "asks": asks, "best": [depth.best_bid, depth.best_ask]}))
