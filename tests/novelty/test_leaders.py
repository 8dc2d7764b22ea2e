"""How far is a tile from everything that was kept?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from edge_agent.novelty.leaders import Leaders, calibrated_epsilon, leaders_for


def filled(vectors: np.ndarray, capacity: int = 64) -> Leaders:
    leaders = Leaders(vectors.shape[1], capacity)
    for number, vector in enumerate(vectors):
        leaders.add(f"tile {number}", vector)
    return leaders


def test_distances_are_scipys() -> None:
    """Against scipy's cosine distance, to the nearest of 40 leaders."""
    rng = np.random.default_rng(1)
    kept, new = rng.normal(size=(40, 16)), rng.normal(size=(30, 16)) * 1e3
    expected = cdist(new, kept, "cosine").min(axis=1)
    assert filled(kept).distance_to_nearest(new) == pytest.approx(expected, abs=1e-6)


def test_right_angles_and_opposites() -> None:
    """By hand: the same direction is at 0, a right angle at 1, the opposite at 2."""
    leaders = filled(np.array([[1.0, 0.0]]))
    found = leaders.distance_to_nearest(np.array([[5.0, 0.0], [0.0, 1e-30], [-1.0, 0.0]]))
    assert found.tolist() == pytest.approx([0.0, 1.0, 2.0], abs=1e-6)


def test_batch_is_one_by_one() -> None:
    """A batch gives what its rows give alone."""
    rng = np.random.default_rng(2)
    leaders = filled(rng.normal(size=(20, 8)))
    batch = rng.normal(size=(17, 8))
    alone = [leaders.distance_to_nearest(row[np.newaxis])[0] for row in batch]
    assert leaders.distance_to_nearest(batch) == pytest.approx(alone, abs=1e-6)


def test_a_tile_given_up_is_welcome_again() -> None:
    """What was forgotten counts no more, and what was never there may be forgotten too."""
    leaders = filled(np.eye(3))
    leaders.forget("tile 1")
    leaders.forget("nobody")
    assert leaders.distance_to_nearest(np.eye(3)).tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    assert len(leaders) == 2


def test_when_full_the_oldest_goes() -> None:
    """Of three, in a memory of two, the second and third stay; adding one again renews it."""
    leaders = filled(np.eye(4)[:3], capacity=2)
    assert leaders.distance_to_nearest(np.eye(4)[:3]).tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    leaders.add("tile 1", np.eye(4)[1])
    leaders.add("tile 3", np.eye(4)[3])
    found = leaders.distance_to_nearest(np.eye(4))
    assert found.tolist() == pytest.approx([1, 0, 1, 0], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60),
)
def test_memory_is_that_of_a_plain_list(capacity: int, steps: list[tuple[bool, int]]) -> None:
    """Whatever is added and forgotten, it knows the last `capacity` tiles, as a list would."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(10, 5))
    leaders = Leaders(5, capacity)
    plain: list[int] = []
    for add, number in steps:
        plain = [other for other in plain if other != number]
        if add:
            leaders.add(f"{number}", vectors[number])
            plain = [*plain, number][-capacity:]
        else:
            leaders.forget(f"{number}")
    assert len(leaders) == len(plain)
    found = leaders.distance_to_nearest(vectors)
    expected = cdist(vectors, vectors[plain], "cosine").min(axis=1) if plain else np.full(10, 2.0)
    assert found == pytest.approx(expected, abs=1e-6)


def test_embeddings_without_direction_are_like_nothing() -> None:
    """Zeros, NaN and infinity are at the farthest, are never leaders, and spoil no other row."""
    odd = np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1e38, 1e38], [1e-42, 0.0]])
    leaders = filled(odd)
    assert len(leaders) == 2
    found = leaders.distance_to_nearest(odd)
    assert found.tolist() == pytest.approx([2.0, 2.0, 2.0, 0.0, 0.0], abs=1e-6)
    assert Leaders(2).distance_to_nearest(odd).tolist() == [2.0] * 5
    assert leaders.distance_to_nearest(np.zeros((0, 2))).shape == (0,)


def test_long_embeddings_have_fewer_leaders() -> None:
    """4096 up to 1024 numbers, and never more than 16 MiB beyond."""
    assert [leaders_for(d) for d in (0, 1, 128, 1024, 2048, 10**9)] == [4096] * 4 + [2048, 1]


def test_epsilon_is_the_median_distance_to_the_next_familiar_tile() -> None:
    """Against scipy on 600 tiles (more than one chunk); zeros are left out."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(600, 12)).astype(np.float32)
    distances = cdist(features, features, "cosine")
    np.fill_diagonal(distances, np.inf)
    expected = np.median(distances.min(axis=1))
    with_zeros = np.vstack([features[:300], np.zeros((5, 12)), features[300:]])
    assert calibrated_epsilon(features) == pytest.approx(expected, abs=1e-6)
    assert calibrated_epsilon(with_zeros) == pytest.approx(expected, abs=1e-6)
    assert calibrated_epsilon(features[:1]) == 0.0


def test_pictures_that_stand_twice_do_not_shrink_epsilon() -> None:
    """Equal embeddings are one picture: all of it twice gives the same epsilon; only it, none."""
    features = np.random.default_rng(5).normal(size=(300, 24)).astype(np.float32)
    once = calibrated_epsilon(features)
    assert once > 0.1
    assert calibrated_epsilon(np.vstack([features, 3.0 * features])) == pytest.approx(once)
    assert calibrated_epsilon(np.vstack([features[:1]] * 3)) == 0.0
