"""The audit arm: a uniform sample whose draws depend on nothing but the tile itself.

So a draw is the same after a restart, and what arrives can be weighted back to the whole survey
by one over its inclusion probability (Horvitz and Thompson, JASA 47, 1952). Place and content
both count: the same place flown again is drawn anew.
"""

from __future__ import annotations

import hashlib


def audit_draw(seed: int, survey: str, address: str, content_sha256: bytes) -> float:
    """A number uniform on [0, 1), the same for the same tile and seed.

    `address` is `frame@row,column`.
    """
    key = f"{seed}\0{survey}\0{address}\0".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(key + content_sha256, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / float(1 << 53)
