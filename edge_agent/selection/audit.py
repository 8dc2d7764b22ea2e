"""The audit arm: a uniform sample whose draws depend on nothing but the tile's address.

So a draw is the same after a restart, and what arrives can be weighted back to the whole survey
by one over its inclusion probability (Horvitz and Thompson, JASA 47, 1952).
"""

from __future__ import annotations

import hashlib


def audit_draw(seed: int, survey: str, frame: str, row: int, column: int) -> float:
    """A number uniform on [0, 1), the same for the same tile and seed."""
    key = f"{seed}\0{survey}\0{frame}\0{row}\0{column}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)
