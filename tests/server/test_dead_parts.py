"""A base of which a part has ended says so and ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from server_sync.serving import Address

ENDS = """
import sys, threading, time
from pathlib import Path
from server_sync.cli import main
part, folder = sys.argv[1], Path(sys.argv[2])

def end_it():
    while not (folder / "ready.json").exists():
        time.sleep(0.02)
    if part == "web":
        import gc, uvicorn
        server = next(o for o in gc.get_objects() if isinstance(o, uvicorn.Server))
        server.should_exit = True
    else:
        import gc
        from server_sync.embedded_broker import EmbeddedBroker
        broker = next(o for o in gc.get_objects() if isinstance(o, EmbeddedBroker))
        broker.stop()

threading.Thread(target=end_it, daemon=True).start()
sys.argv[1:] = ["serve", "--data", str(folder), "--ready-file", str(folder / "ready.json"),
                "--embedded-broker", "127.0.0.1:0", "--web", "127.0.0.1:0"]
main()
"""


@pytest.mark.parametrize(("part", "name"), [("web", "review pages"), ("broker", "embedded broker")])
def test_the_base_ends_with_an_error_when_a_part_ends(tmp_path, part, name):
    """The thread of the pages, or of the broker, ends: the process names it and ends with 3."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS, part, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert f"ended by itself: the {name}" in done.stderr


def test_an_ipv6_address_is_shown_in_brackets():
    """As in a URL; others as they are."""
    assert str(Address("::1", 8080)) == "[::1]:8080"
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"
