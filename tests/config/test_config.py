"""The config tree: what loads, what is refused and how it is said, what a reload may change, what never shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_controller import config
from data_controller.config import Config, InvalidConfig, check_reload, leaves, load, parse, schema, with_instrument
from data_controller.errors import ConfigError

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def refused(tmp_path: Path, text: str | bytes) -> InvalidConfig:
    """The refusal of a file with `text`."""
    path = tmp_path / "engine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidConfig) as caught:
        load(path)
    return caught.value


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_a_valid_config(example: Path) -> None:
    assert isinstance(load(example), Config)


def test_a_missing_section_has_its_defaults() -> None:
    assert parse({}) == Config()


def test_a_section_without_keys_has_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("journal:\n  # flush_interval_ms: 500\nrisk:\n")
    assert load(path) == Config()


def test_the_tree_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().state_dir = Path("elsewhere")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("state_dirr: x\n", 1, "state_dirr", "did you mean `state_dir`?"),
        ("\nengine:\n  pulse_mss: 100\n", 3, "engine.pulse_mss", "did you mean `pulse_ms`?"),
        ("risk:\n  flush_interval_ms: 100\n", 2, "risk.flush_interval_ms", "did you mean `journal.flush_interval_ms`?"),
        ("zzzz: 1\n", 1, "zzzz", "the nearest key here is"),
        ("exchanges:\n  bitfinexx: {}\n", 2, "exchanges.bitfinexx", "did you mean `bitfinex`?"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_its_nearest_neighbour(
    tmp_path: Path, text: str, line: int, key: str, says: str
) -> None:
    (problem,) = refused(tmp_path, text).problems
    assert (problem.line, problem.key) == (line, key)
    assert says in problem.advice


@pytest.mark.parametrize(
    ("text", "expected", "was"),
    [
        ("engine: {pulse_ms: 5}", "at least 10", "5"),
        ("engine: {pulse_ms: 10000}", "at most 1000", "10000"),
        ("engine: {pulse_ms: 10.5}", "a whole number", "10.5"),
        ("engine: {pulse_ms: '100'}", "a whole number", '"100"'),
        ("engine: {pulse_ms: true}", "a whole number", "true"),
        ("engine: {stop_timeout_s: .nan}", "a finite number", "NaN"),
        ("engine: {stop_timeout_s: .inf}", "a finite number", "Infinity"),
        ("engine: {stop_timeout_s: 0}", "more than 0", "0"),
        ("engine: {stop_timeout_s: [1]}", "a number", "[1]"),
        ("engine: 7", "a mapping", "7"),
        ("engine: [1, 2]", "a mapping", "[1, 2]"),
        ("state_dir: 7", "text", "7"),
        ("proof: {act_on: PROVED}", "a list", '"PROVED"'),
        ("proof: {act_on: [PROVED, MAYBE]}", "PROVED or UNVERIFIABLE", '"MAYBE"'),
        ("exchanges: {bitfinex: {trades: 'yes'}}", "true or false", '"yes"'),
        ("exchanges: {bitfinex: {trades: 1}}", "true or false", "1"),
        ("exchanges: {bitfinex: {books: [{length: 30}]}}", "1, 25, 100 or 250", "30"),
    ],
)
def test_a_bad_value_says_what_was_expected_and_what_was_found(
    tmp_path: Path, text: str, expected: str, was: str
) -> None:
    (problem,) = refused(tmp_path, text).problems
    assert (problem.expected, problem.was, problem.line) == (expected, was, 1)


def test_a_bad_value_names_its_key_and_the_default(tmp_path: Path) -> None:
    error = refused(tmp_path, "engine:\n  pulse_ms: 5\n")
    assert str(error).endswith("engine.yaml:2: expected at least 10, was 5 (`engine.pulse_ms`); the default is 100")


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_its_lines(tmp_path: Path) -> None:
    error = refused(
        tmp_path,
        "engine:\n  pulse_ms: 5\n  nonsense: 1\nstate_dir: 7\nrisk:\n  max_stake_quote: -1\nextra: 1\n",
    )
    assert [(p.line, p.key) for p in error.problems] == [
        (2, "engine.pulse_ms"),
        (3, "engine.nonsense"),
        (4, "state_dir"),
        (6, "risk.max_stake_quote"),
        (7, "extra"),
    ]
    assert len(str(error).splitlines()) == 5


def test_a_problem_inside_a_list_has_the_line_of_its_item(tmp_path: Path) -> None:
    (problem,) = refused(
        tmp_path, "exchanges:\n  bitfinex:\n    books:\n      - length: 25\n      - precision: P9\n"
    ).problems
    assert (problem.line, problem.key) == (5, "exchanges.bitfinex.books[1].precision")


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("", "was an empty file", 0),
        ("# nothing but a comment\n", "was an empty file", 0),
        ("- a\n- b\n", "was a list", 1),
        ("just words\n", "expected a mapping of sections", 1),
        ("engine:\n\tpulse_ms: 100\n", "was a tab", 2),
        ("engine: {\n", "broken YAML", 2),
        ("engine:\n  pulse_ms: 100\n  pulse_ms: 200\n", "`pulse_ms` twice", 3),
        (b"engine: \xff\xfe\n", "not UTF-8", 0),
        (b"x" * 2_000_000, "bytes", 0),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(
    tmp_path: Path, text: str | bytes, says: str, line: int
) -> None:
    error = refused(tmp_path, text)
    assert says in str(error)
    assert len(str(error).splitlines()) == 1
    if line:
        assert error.problems[0].line == line


def test_anchors_that_explode_are_refused(tmp_path: Path) -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "reasonable size" in str(refused(tmp_path, "\n".join(rows)))


def test_a_leader_that_nobody_collects_is_refused_with_those_who_are_collected(tmp_path: Path) -> None:
    text = "exchanges:\n  bitfinex:\n    instruments: [tBTCUSD]\nfeatures:\n  leader: {}\n"
    error = refused(tmp_path, text.format("tBTCUSD"))
    assert str(error).endswith(
        "engine.yaml:5: expected one of bitfinex:tBTCUSD, was tBTCUSD (`features.leader`); name an instrument of "
        "`exchanges` as `venue:symbol`, or leave it out"
    )
    (path := tmp_path / "good.yaml").write_text(text.format("bitfinex:tBTCUSD"))
    assert load(path).features.leader == "bitfinex:tBTCUSD"


def test_a_missing_file_says_where_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file there; examples/paper\.yaml"):
        load(tmp_path / "nothing.yaml")


def test_a_folder_is_not_a_config_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable file"):
        load(tmp_path)


def test_the_hash_depends_on_values_and_not_on_how_they_are_written(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("engine:\n  pulse_ms: 100\nrisk: {max_orders_minute: 5}\n")
    second.write_text("# order, comments and defaults left out change nothing\nrisk:\n  max_orders_minute: 5\n")
    assert load(first).hash == load(second).hash
    second.write_text("risk:\n  max_orders_minute: 6\n")
    assert load(first).hash != load(second).hash


def test_effective_values_load_into_the_same_tree() -> None:
    tree = load(EXAMPLES / "paper.yaml")
    assert parse(tree.effective()) == tree
    assert parse(json.loads(json.dumps(Config().effective()))) == Config()


def test_every_key_says_whether_a_reload_may_change_it() -> None:
    silent = [".".join(map(str, path)) for path, info in leaves() if not (info.json_schema_extra or {}).get("reload")]
    assert silent == []


def test_a_hot_key_may_change_at_a_reload() -> None:
    assert check_reload(parse({}), parse({"risk": {"max_orders_minute": 5}})) == []


def test_a_restart_key_is_refused_by_name() -> None:
    new = {"engine": {"pulse_ms": 200}, "risk": {"max_orders_minute": 5}, "state_dir": "elsewhere"}
    assert check_reload(parse({}), parse(new)) == ["state_dir", "engine.pulse_ms"]


def test_a_venue_that_appears_or_goes_needs_a_restart() -> None:
    with_venue = parse({"exchanges": {"bitfinex": {}}})
    assert check_reload(parse({}), with_venue) == ["exchanges.bitfinex"]
    assert check_reload(with_venue, parse({})) == ["exchanges.bitfinex"]


def test_instruments_are_hot_and_the_address_is_not() -> None:
    def tree(**keys: Any) -> Config:
        return parse({"exchanges": {"bitfinex": keys}})

    assert check_reload(tree(), tree(instruments=["tBTCUSD"])) == []
    assert check_reload(tree(), tree(url="ws://127.0.0.1:1")) == ["exchanges.bitfinex.url"]


def test_an_instrument_is_added_or_taken_out_and_nothing_else_changes() -> None:
    old = parse({"exchanges": {"bitfinex": {"instruments": ["tBTCUSD"], "trades": False}}})
    more = with_instrument(old, "bitfinex", "tETHUSD", wanted=True)
    assert more.exchanges.bitfinex is not None
    assert more.exchanges.bitfinex.instruments == ("tBTCUSD", "tETHUSD")
    assert check_reload(old, more) == []
    assert with_instrument(more, "bitfinex", "tETHUSD", wanted=False) == old


@pytest.mark.parametrize(
    ("exchange", "names"),
    [
        ("binance", ("BTC/USDT", "BTCUSDT")),
        ("binance_usdm", ("BTC/USDT:USDT", "BTCUSDT")),
        ("bybit_linear", ("BTC/USDT:USDT", "BTCUSDT")),
        ("bitfinex", ("BTC/USD", "tBTCUSD")),
        ("bitstamp", ("BTC/USD", "btcusd")),
        ("bitflyer", ("BTC/JPY", "BTC_JPY")),
        ("okx", ("BTC/USDT", "BTC-USDT")),
        ("coinbase", ("BTC/USD", "BTC-USD")),
    ],
)
def test_an_instrument_is_the_same_by_either_of_its_names(exchange: str, names: tuple[str, str]) -> None:
    for written in names:
        old = parse({"exchanges": {exchange: {"instruments": [written]}}})
        for named in names:
            less = with_instrument(old, exchange, named, wanted=False)
            assert getattr(less.exchanges, exchange).instruments == ()
            with pytest.raises(ConfigError, match="expected an instrument that is not there yet"):
                with_instrument(old, exchange, named, wanted=True)
    kept = parse({"exchanges": {exchange: {"instruments": names[:1]}}}).effective()["exchanges"][exchange]
    (other,) = {*names} - {*kept["instruments"]}
    with pytest.raises(ConfigError, match=f"which is there as '{kept['instruments'][0]}'"):
        with_instrument(parse({"exchanges": {exchange: {"instruments": names[:1]}}}), exchange, other, wanted=True)


def test_a_perpetuals_name_is_not_that_of_the_spot_pair_with_its_symbol() -> None:
    old = parse({"exchanges": {"bybit": {"instruments": ["BTC/USDT"]}}})
    with pytest.raises(ConfigError, match="expected one of its instruments"):
        with_instrument(old, "bybit", "BTC/USDT:USDT", wanted=False)


@pytest.mark.parametrize(
    ("exchange", "instrument", "wanted", "reason"),
    [
        ("kraken", "tBTCUSD", True, r"started with \(bitfinex\), was 'kraken'"),
        ("bitfinex", "tBTCUSD", True, "expected an instrument that is not there yet"),
        ("bitfinex", "tETHUSD", False, r"expected one of its instruments .*: tBTCUSD\), was 'tETHUSD'"),
        ("bitfinex", "no symbol", True, "as Bitfinex writes them"),
        ("bitfinex", "tBTCUSD", False, r"features\.leader"),
    ],
)
def test_an_instrument_that_cannot_be_added_or_taken_out_says_why(
    exchange: str, instrument: str, wanted: bool, reason: str
) -> None:
    leader = {"features": {"leader": "bitfinex:tBTCUSD"}}
    old = parse({"exchanges": {"bitfinex": {"instruments": ["tBTCUSD"]}}, **leader})
    with pytest.raises(ConfigError, match=reason):
        with_instrument(old, exchange, instrument, wanted=wanted)


@given(st.sampled_from([path for path, _ in leaves()]))
@settings(max_examples=60, deadline=None)
def test_a_reload_without_a_change_changes_nothing_and_any_change_is_seen(path: tuple[str, ...]) -> None:
    old = Config()
    assert check_reload(old, Config()) == []
    marks = {".".join(map(str, p)): config.reload_mark(info.json_schema_extra) for p, info in leaves()}
    # Replace the one value behind validation's back: what counts here is the comparison.
    sections = [old]
    for name in path[:-1]:
        inner = getattr(sections[-1], name)
        if inner is None:
            return
        sections.append(inner)
    changed: Any = object()
    for section, name in zip(reversed(sections), reversed(path), strict=True):
        changed = section.model_copy(update={name: changed})
    dotted = ".".join(path)
    assert check_reload(old, changed) == ([] if marks[dotted] == "hot" else [dotted])


def test_the_schema_accepts_no_unknown_key_and_names_its_reload_marks() -> None:
    tree = schema()
    assert tree["additionalProperties"] is False
    assert tree["$defs"]["EngineSettings"]["properties"]["pulse_ms"]["reload"] == "restart"


def test_a_field_that_no_channel_shows_needs_a_restart() -> None:
    keys = {"api_key_file": "k", "api_secret_file": "s", "api_passphrase_file": "p"}
    old, new = (
        parse({"exchanges": {"coinbase": {"instruments": ["BTC/USD"], "book_channel": name, **keys}}})
        for name in ("level2_batch", "level2")
    )
    assert check_reload(old, new) == ["exchanges.coinbase.book_channel"]
