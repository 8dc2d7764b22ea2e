"""The memory of kept tiles against a plain list."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.novelty.memory import Duplicate, KeptTiles

operations = st.lists(
    st.tuples(
        st.sampled_from(["add", "find", "forget"]),
        st.integers(0, 12),
        st.one_of(st.none(), st.integers(0, 2**64 - 1), st.integers(0, 15)),
    ),
    max_size=60,
)


def naive_find(
    kept: list[tuple[str, bytes, int | None]], content: bytes, likeness: int | None, limit: int
) -> tuple[str, int] | None:
    """Kind and distance of the nearest kept tile, by looking at every one."""
    if any(other == content for _, other, _ in kept):
        return "content", 0
    if likeness is None:
        return None
    distances = [(other ^ likeness).bit_count() for _, _, other in kept if other is not None]
    best = min(distances, default=65)
    return ("perceptual", best) if best <= limit else None


@given(operations, st.integers(-1, 20))
@settings(max_examples=300, deadline=None)
def test_finds_what_a_plain_list_finds(
    steps: list[tuple[str, int, int | None]], limit: int
) -> None:
    """Within capacity, find, add and forget agree with a list searched from end to end."""
    memory = KeptTiles(100, limit)
    kept: list[tuple[str, bytes, int | None]] = []
    for step, number, likeness in steps:
        tile, content = f"t{number}", bytes([number])
        if step == "add":
            memory.add(tile, content, likeness)
            kept = [entry for entry in kept if entry[0] != tile] + [(tile, content, likeness)]
        elif step == "forget":
            memory.forget(tile)
            kept = [entry for entry in kept if entry[0] != tile]
        else:
            found = memory.find(content, likeness)
            expected = naive_find(kept, content, likeness, limit)
            assert (found and (found.kind, found.distance)) == expected


def test_the_oldest_is_forgotten_first() -> None:
    """Memory is bounded: of three tiles in a memory of two, the first is unknown again."""
    memory = KeptTiles(2, 0)
    for number in range(3):
        memory.add(f"t{number}", bytes([number]), 1 << number)
    assert memory.find(b"\x00", 1 << 0) is None
    assert memory.find(b"\x01", None) == Duplicate("content", "t1", 0)
    assert memory.find(b"x", 1 << 2) == Duplicate("perceptual", "t2", 0)
    assert len(memory) == 2
