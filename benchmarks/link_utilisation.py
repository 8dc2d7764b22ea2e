"""How busy `edge-agent sync` keeps a slow link: bytes carried over bytes that it could carry.

    python benchmarks/link_utilisation.py [--kbit 1000] [--round-trip 0.1] [--tiles 150]

Runs `server-sync serve` with its embedded broker and, through a throttled TCP relay on loopback,
`edge-agent sync --drain` on an outbox of noise pictures. The busy share is taken from the first
byte of an offer to the last byte of pixels. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from edge_agent.domain import Frame, Judged, Reason, Tile, Verdict
from edge_agent.records.batch import commit_batch
from edge_agent.records.database import open_database
from edge_agent.records.ledger import begin_frame, open_survey
from edge_agent.records.values import Caps, FrameKey, FrameProgress

SEGMENT = 1460
"""Bytes of payload in one Ethernet frame."""
_IDLE_S = 0.002
LARGE = 512
"""A segment of at least so many bytes is part of an offer or a chunk, not a handshake."""


class Relay:
    """Carries TCP at `bytes_per_s` upwards, each way delayed by half a round trip."""

    def __init__(self, target: tuple[str, int], bytes_per_s: float, round_trip_s: float) -> None:
        self._target = target
        self._bytes_per_s = bytes_per_s
        self._delay_s = round_trip_s / 2
        self._listener = socket.socket()
        # Small buffers on both sides, or the relay would take what the link cannot carry.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self.carried = 0
        self.first_at = self.last_at = 0.0
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, sock=self._listener, limit=2048)
        async with server:
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(
            self._carry(reader, up_writer, self._bytes_per_s), self._carry(up_reader, writer, None)
        )

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float | None
    ) -> None:
        loop = asyncio.get_running_loop()
        free_at = asked_at = loop.time()
        while data := await reader.read(SEGMENT):
            if rate is not None:
                # Only a wait for data leaves the link idle; a timer that rings late does not.
                if loop.time() - asked_at > _IDLE_S:
                    free_at = max(free_at, loop.time())
                free_at += len(data) / rate
                await asyncio.sleep(free_at - loop.time())
                asked_at = loop.time()
                self._count(data)
            loop.call_later(self._delay_s, writer.write, data)
        loop.call_later(self._delay_s, writer.close)

    def _count(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.carried and len(data) < LARGE:
            return
        if not self.carried:
            self.first_at = now - len(data) / self._bytes_per_s
        self.carried += len(data)
        if len(data) >= LARGE:
            self.last_at = now


def fill(path: Path, tiles: int) -> int:
    """Queue noise pictures of about 2 to 30 kB; their bytes in all."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(40, 160, tiles)
    with open_database(path) as database:
        survey = open_survey(
            database,
            "benchmark",
            "noise@1",
            bytes(32),
            "0",
            policy_settings="{}",
            labels=("noise",),
            boot=1,
            now=0.0,
        )
        frame = Frame("noise.jpg", 9999, 9999, None, None, None, "unknown", None)
        key = FrameKey("noise.jpg", 1, 1)
        row = begin_frame(database, survey.survey_id, key, frame, tiles, 0.0)
        judged = [(row.frame_id, frame, _tile(n, int(s), rng)) for n, s in enumerate(sizes)]
        done = [FrameProgress(row.frame_id, tiles, True)]
        commit_batch(database, survey, judged, done, Caps(2**40), 0.0)
    return sum(len(item.payload or b"") for _, _, item in judged)


def _tile(number: int, size: int, rng: np.random.Generator) -> Judged:
    pixels = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=85)
    return Judged(
        tile=Tile(0, number, size, size, pixels, None, 0.0, None),
        prediction=None,
        findings=(),
        quality=3.0,
        content_sha256=number.to_bytes(32, "big"),
        perceptual_hash=None,
        verdict=Verdict(True, 0.5, (Reason("audit"),)),
        payload=encoded.getvalue(),
        payload_type="image/jpeg",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kbit", type=float, default=1000.0, help="link speed in kbit/s")
    parser.add_argument("--round-trip", type=float, default=0.1, help="seconds")
    parser.add_argument("--tiles", type=int, default=150)
    options = parser.parse_args()
    rate = options.kbit * 1000 / 8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        payload_bytes = fill(folder / "edge.db", options.tiles)
        ready = folder / "ready.json"
        base = subprocess.Popen(
            [sys.executable, "-c", "from server_sync.cli import main; main()", "serve",
             "--data", str(folder / "base"), "--embedded-broker", "127.0.0.1:0", "--no-web",
             "--ready-file", str(ready)],
        )  # fmt: skip
        try:
            while not ready.exists():
                assert base.poll() is None, "server-sync did not start"
                time.sleep(0.1)
            host, port = json.loads(ready.read_text())["broker"].rsplit(":", 1)
            relay = Relay((host, int(port)), rate, options.round_trip)
            device = subprocess.run(
                [sys.executable, "-c", "from edge_agent.cli import main; main()", "sync",
                 "--database", str(folder / "edge.db"), "--drain", "--device", "benchmark",
                 "--broker", f"127.0.0.1:{relay.port}", "--json"],
                check=True,
                stdout=subprocess.PIPE,
            )  # fmt: skip
        finally:
            base.terminate()
            base.wait()
    seconds = relay.last_at - relay.first_at
    report = {
        "link_kbit_per_s": options.kbit,
        "round_trip_s": options.round_trip,
        "tiles": options.tiles,
        "payload_bytes": payload_bytes,
        "carried_bytes": relay.carried,
        "seconds": round(seconds, 2),
        "busy_share": round(relay.carried / (rate * seconds), 4),
        "payload_share": round(payload_bytes / relay.carried, 4),
        "settled": json.loads(device.stdout)["settled"],
        "bar": 0.95,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
