"""The simulator's control port: one JSON command a line, one JSON answer a line, on loopback."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from data_controller.errors import SimulatorError
from data_controller.simulator.dialect import REST_FAULTS, Venue
from data_controller.simulator.faults import Fault, describe, fault, random_faults
from data_controller.simulator.server import Peer, Server
from data_controller.simulator.session import RESUMED
from data_controller.simulator.venue_server import VenuePeer

SECOND = 1_000_000_000


class Control:
    """Answers commands about a server.

    stats, truth, fault, chaos, heal, maintenance, restart, refuse, close, pause, go, latent, save_log, hash, stop,
    rest_fault, clock, tls, requests: see docs/simulator.md. Every answer has `ok`; a refused command says why in
    `error`.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = 0
        self.stopped = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._verbs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "stats": self._stats,
            "truth": self._truth,
            "fault": self._fault,
            "chaos": self._chaos,
            "heal": self._heal,
            "maintenance": self._maintenance,
            "restart": self._restart,
            "refuse": self._refuse,
            "close": self._close,
            "pause": self._pause,
            "go": self._go,
            "latent": self._latent,
            "save_log": self._save_log,
            "hash": self._hash,
            "stop": self._stop,
            "rest_fault": self._rest_fault,
            "clock": self._clock,
            "tls": self._tls,
            "requests": self._requests,
        }

    async def start(self, port: int) -> None:
        """Listen."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = int(self._listener.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self.do(line), separators=(",", ":")).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            return  # the client is gone, sent no line, or the simulator ends
        finally:
            writer.close()

    def do(self, line: bytes | str) -> dict[str, Any]:
        """Carry out one command; returns its answer."""
        try:
            command = json.loads(line)
            if not isinstance(command, dict) or command.get("do") not in self._verbs:
                raise SimulatorError(f"expected `do` among {', '.join(self._verbs)}, was {str(line)[:80]}")
            verb = self._verbs[command.pop("do")]
            return {"ok": True} | verb(command)
        except (SimulatorError, ValueError, TypeError, LookupError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def _chosen(self, command: dict[str, Any]) -> list[Peer | VenuePeer]:
        """The connections a command means: one number, "latest", or all."""
        conn = command.pop("conn", "all")
        peers = self.server.peers
        if conn == "all":
            return list(peers.values())
        if conn == "latest" and peers:
            return [peers[max(peers)]]
        if conn not in peers:
            raise SimulatorError(f"expected an open connection among {sorted(peers)}, was {conn}")
        return [peers[conn]]

    def _stats(self, command: dict[str, Any]) -> dict[str, Any]:
        return self.server.stats()

    def _venue(self, command: dict[str, Any]) -> Venue:
        name = command.pop("venue", None)
        venue = self.server.venues.get(name)
        if venue is None:
            raise SimulatorError(f"expected a venue among {', '.join(self.server.venues)}, was {name}")
        return venue

    def _rest_fault(self, command: dict[str, Any]) -> dict[str, Any]:
        venue, kind, count = self._venue(command), command.get("kind"), int(command.get("count", 1))
        if kind not in REST_FAULTS:
            raise SimulatorError(f"expected a fault among {', '.join(REST_FAULTS)}, was {kind!r}")
        venue.rest_faults[kind] = count
        return {"armed": dict(venue.rest_faults)}

    def _clock(self, command: dict[str, Any]) -> dict[str, Any]:
        venue = self._venue(command)
        venue.clock_offset_ns = int(float(command.get("offset_s", 0.0)) * SECOND)
        return {"told_ns": venue.told_ns}

    def _tls(self, command: dict[str, Any]) -> dict[str, Any]:
        venue = self._venue(command)
        until_ns = time.monotonic_ns() + int(float(command.get("duration_s", 5.0)) * SECOND)
        self.server.tls_until_ns[venue.name] = until_ns
        return {}

    def _requests(self, command: dict[str, Any]) -> dict[str, Any]:
        return {"requests": list(self._venue(command).requests)}

    def _truth(self, command: dict[str, Any]) -> dict[str, Any]:
        if "venue" in command:
            told = self._venue(command).truth(**command)
            return {"bids": told[0], "asks": told[1]}
        if "chan_id" in command:
            (peer,) = self._chosen(command)
            book = peer.link.meant.book(int(command["chan_id"]), command.get("seq"))
            bids, asks = book.sides()
            return {"bids": bids, "asks": asks, "checksum": book.checksum()}
        truth = self.server.exchange.true_book(
            command["symbol"], command.get("precision", "P0"), int(command.get("length", 25))
        )
        return {"bids": truth.bids, "asks": truth.asks, "now_ns": self.server.exchange.now_ns}

    def _fault(self, command: dict[str, Any]) -> dict[str, Any]:
        peers = self._chosen(command)
        if "duration_s" in command:
            command["duration_ns"] = int(float(command.pop("duration_s")) * SECOND)
        for peer in peers:
            peer.link.arm(fault(**command))
        return {"armed": [peer.conn for peer in peers], "fault": asdict(fault(**command))}

    def _chaos(self, command: dict[str, Any]) -> dict[str, Any]:
        drawn = []
        for number, peer in enumerate(self._chosen(command)):
            seed = int(command.get("seed", 1)) + number
            faults = random_faults(seed, int(command.get("count", 5)), int(command.get("frames", 1000)))
            peer.link.arm(*faults)
            drawn += [describe(one) for one in faults]
        return {"faults": drawn}

    def _heal(self, command: dict[str, Any]) -> dict[str, Any]:
        peers = self._chosen(command)
        for peer in peers:
            peer.link.heal()
        return {"healed": [peer.conn for peer in peers]}

    def _maintenance(self, command: dict[str, Any]) -> dict[str, Any]:
        seconds = float(command.get("duration_s", 5.0))
        self.server.exchange.maintenance = True
        told = set(self.server.peers)
        asyncio.get_running_loop().call_later(seconds, self._maintained, told)
        for peer in self.server.peers.values():
            peer.link.arm(Fault("maintenance", duration_ns=int(seconds * SECOND)))
        return {"until_s": seconds}

    def _maintained(self, told: set[int]) -> None:
        """End a maintenance; its fault tells those of `told`, who were there when it began."""
        self.server.exchange.maintenance = False
        for conn, peer in self.server.peers.items():
            if conn not in told:
                peer.link.session.info(RESUMED)
                peer.flush()

    def _restart(self, command: dict[str, Any]) -> dict[str, Any]:
        for peer in self.server.peers.values():
            peer.link.arm(Fault("restart", duration_ns=int(float(command.get("after_s", 1.0)) * SECOND)))
        return {}

    def _refuse(self, command: dict[str, Any]) -> dict[str, Any]:
        self.server.refuse_until_ns = time.monotonic_ns() + int(float(command.get("duration_s", 5.0)) * SECOND)
        return {}

    def _close(self, command: dict[str, Any]) -> dict[str, Any]:
        peers = self._chosen(command)
        for peer in peers:
            peer.end("disconnect")
        return {"closed": [peer.conn for peer in peers]}

    def _pause(self, command: dict[str, Any]) -> dict[str, Any]:
        self.server.run_on()
        self.server.exchange.halt(bool(command.get("paused", True)))
        return {}

    def _go(self, command: dict[str, Any]) -> dict[str, Any]:
        if self.server.options.load:
            self.server.start_load()
        else:
            self.server.go()
        return {"now_ns": self.server.exchange.now_ns}

    def _latent(self, command: dict[str, Any]) -> dict[str, Any]:
        latent = self.server.exchange.latent(command["symbol"])
        if "path" in command:
            np.savez(Path(command["path"]), **latent._asdict())
            return {"rows": len(latent.ns)}
        return {name: column.tolist() for name, column in latent._asdict().items()}

    def _save_log(self, command: dict[str, Any]) -> dict[str, Any]:
        self.server.save_log()
        return {"rows": len(self.server.sent)}

    def _hash(self, command: dict[str, Any]) -> dict[str, Any]:
        return {"market": self.server.exchange.digest()}

    def _stop(self, command: dict[str, Any]) -> dict[str, Any]:
        self.stopped.set()
        return {}
