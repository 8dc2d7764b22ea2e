"""Is this whole survey foreign? A sequential test that may be looked at after every tile.

On familiar ground a tile's p-value is at most `level` with probability `level`, so the share of
such strange tiles is small, whatever the ground. The test bets against that: it starts with a
capital of 1, and each vote `v` in [0, 1] multiplies it by `1 - c + c v / familiar_share`. As long
as the conditional mean of every vote is at most `familiar_share`, the capital is a non-negative
supermartingale, for each fraction `c` and for a mixture of several, so that it ever reaches
1 / alarm with probability at most `alarm` (Ville, "Etude critique de la notion de collectif",
1939): at any look, after any number of looks. Testing by betting: Shafer, JRSS A 184, 2021; means
of bounded votes: Waudby-Smith and Ramdas, JRSS B 86, 2023; betting on conformal p-values: Vovk,
Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, chapter 7.

A block of ground has one vote per survey: the share of strange tiles among its first
`TILES_PER_VOTE`, or among fewer where its frame ends, no more fit in, or tiles of `MAX_OPEN` other
blocks came since. When a vote is closed depends on geometry alone, never on what was seen, so its
mean is that of a single tile however much the tiles of a block depend on each other. Frames that
come back to a block add nothing.

An alarm stays for the rest of the survey. It says that ground like the model's could hardly have
looked like this; more ground cannot make what was seen unseen, and a policy that went back and
forth would leave a survey that nobody can weigh.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from edge_agent.domain import Position
from edge_agent.scoring.conformal import upper_share
from edge_agent.scoring.ground_blocks import frame_block, ground_block

LEVEL: Final = 0.05
"""A tile of an `ood` p-value up to this is strange."""
TILES_PER_VOTE: Final = 8
VOTE_UNIT: Final = 840
"""Votes are kept as whole 840ths: any share of 1 to 8 tiles is one exactly."""
MAX_BLOCKS: Final = 65_536
"""Blocks that may vote in one survey: 160 km2 at 50 m. Later ones are not counted."""
MAX_OPEN: Final = 128
"""Votes open at once: in a mosaic that is askew or full of holes many blocks are never filled."""
BETS: Final = (1 / 32, 1 / 8, 1 / 3, 2 / 3, 0.95)
"""Fractions of the capital put on strangeness; the large one for ground that is all foreign."""
WEIGHTS: Final = (0.1, 0.1, 0.15, 0.15, 0.5)
_BISECTIONS: Final = 40


class DriftTest(Struct, frozen=True):
    """What is tested, and how strictly."""

    familiar_share: float
    """On familiar ground at most this share of the tiles is strange; in (0, 1)."""
    alarm: float = 0.001
    """At most this share of familiar surveys ever raises the alarm."""
    block_m: float = 50.0
    """Side of a block of ground in metres."""
    level: float = LEVEL


class Sighting(Struct, frozen=True):
    """A valid tile as the test sees it."""

    frame: str
    p_value: float
    position: Position | None
    """Of its centre on WGS 84."""
    extent_m: float | None
    """Its side on the ground in metres."""


class Tally(Struct, frozen=True):
    """A block whose vote is still open."""

    block: str
    needed: int
    """Tiles that close it."""
    tiles: int
    strange: int


class Alarm(Struct, frozen=True):
    """What was known when the alarm was raised."""

    votes: int
    tiles: int
    strange: int
    """Of these tiles."""
    at_least: float
    """Share of strange ground that is certain to the same degree as the alarm."""


class DriftState(Struct, frozen=True):
    """All that the test remembers, beside the names of the blocks that have voted."""

    tiles: int = 0
    """Valid tiles seen, voting or not."""
    strange: int = 0
    """Of these, strange ones."""
    votes: tuple[tuple[int, int], ...] = ()
    """How often each vote was cast: (in 840ths, times), ascending. No more is needed: the capital
    does not depend on the order of votes."""
    frame: str = ""
    """The frame under way."""
    open: tuple[Tally, ...] = ()
    alarm: Alarm | None = None

    @property
    def cast(self) -> int:
        """Votes so far."""
        return sum(times for _, times in self.votes)

    @property
    def share(self) -> float | None:
        """Mean vote: the share of strange ground; None before the first vote."""
        cast = self.cast
        return sum(vote * times for vote, times in self.votes) / VOTE_UNIT / cast if cast else None


def familiar_share(count: int, ranks: int, *, slack: float, risk: float, level: float) -> float:
    """The share of strange tiles that familiar ground may have, given a calibration of its size.

    The greater of two: `slack * level`, for ground that is a little unlike the calibration tiles,
    and what a calibration of `count` tiles can vouch for. Given the calibration, the share of
    familiar tiles with p <= level is not `level` but a draw of Beta(ranks, count + 1 - ranks)
    (Vovk, "Conditional validity of inductive conformal predictors", 2012): 0.05 +- 0.02 for 119
    tiles, more than 0.075 for one calibration in ten. It exceeds the bound for at most a share of
    `risk` of all calibrations, so a familiar survey raises the alarm with probability at most
    `alarm + risk`.

    Args:
        count: calibration tiles.
        ranks: how many of a new tile's `count + 1` ranks are strange: p-values up to `level`.

    Raises:
        ValueError: no rank is strange, so no tile ever is.
    """
    if ranks < 1:
        raise ValueError(f"{count} calibration tiles give no p-value as small as {level}")
    vouched = upper_share(count, ranks - 1, 1.0 - risk)
    return min(max(slack * level, vouched), 0.999)


def step(
    state: DriftState, seen: Sighting, voted: Set[str], test: DriftTest
) -> tuple[DriftState, tuple[str, ...]]:
    """The state after one more tile, and the blocks whose votes that closed.

    `voted` are the blocks that have voted so far; those returned belong to them from now on.
    """
    closed: list[Tally] = []
    tallies = state.open
    if seen.frame != state.frame:
        closed += tallies
        tallies = ()
    strange = seen.p_value <= test.level + 1e-12
    block, needed = _block(seen, test)
    names = {tally.block for tally in closed}
    if block not in voted and block not in names and len(voted) + len(names) < MAX_BLOCKS:
        tallies, full = _counted(tallies, block, needed, strange)
        # The first is the one whose last tile came the longest ago.
        spare = max(len(tallies) - MAX_OPEN, 0)
        closed += [*full, *tallies[:spare]]
        tallies = tallies[spare:]
    state = replace(
        state,
        tiles=state.tiles + 1,
        strange=state.strange + strange,
        frame=seen.frame,
        open=tallies,
    )
    return (_cast(state, closed, test) if closed else state), tuple(t.block for t in closed)


def log_evidence(votes: Iterable[tuple[int, int]], familiar: float) -> float:
    """Natural logarithm of the capital after these votes, (in 840ths, times) each.

    Falls as `familiar`, the share betted against, rises.
    """
    logs = [math.log(weight) for weight in WEIGHTS]
    for vote, times in votes:
        gain = vote / VOTE_UNIT / familiar
        for index, bet in enumerate(BETS):
            logs[index] += times * math.log1p(bet * (gain - 1.0))
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs))


def at_least(votes: Iterable[tuple[int, int]], risk: float) -> float:
    """A lower bound of the share of strange ground, valid at every look together.

    The smallest share that the votes do not speak against: were the share never above any smaller
    one, the bound would ever come to lie above it with probability at most `risk`.
    """
    counted = tuple(votes)
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if log_evidence(counted, middle) >= -math.log(risk):
            low = middle
        else:
            high = middle
    return low


def _block(seen: Sighting, test: DriftTest) -> tuple[str, int]:
    """The tile's block, and how many tiles close its vote."""
    if seen.position is not None:
        try:
            block, fitting = ground_block(seen.position, test.block_m, seen.extent_m)
        except ValueError:
            return frame_block(seen.frame), TILES_PER_VOTE
        return block, min(fitting, TILES_PER_VOTE)
    return frame_block(seen.frame), TILES_PER_VOTE


def _counted(
    tallies: tuple[Tally, ...], block: str, needed: int, strange: bool
) -> tuple[tuple[Tally, ...], list[Tally]]:
    """The open tallies with one more tile, and the tally that it filled."""
    mine = next((t for t in tallies if t.block == block), Tally(block, needed, 0, 0))
    others = tuple(t for t in tallies if t.block != block)
    mine = replace(mine, tiles=mine.tiles + 1, strange=mine.strange + strange)
    return (others, [mine]) if mine.tiles >= mine.needed else ((*others, mine), [])


def _cast(state: DriftState, closed: Iterable[Tally], test: DriftTest) -> DriftState:
    votes = dict(state.votes)
    alarm = state.alarm
    for tally in closed:
        vote = VOTE_UNIT * tally.strange // tally.tiles
        votes[vote] = votes.get(vote, 0) + 1
        counted = tuple(sorted(votes.items()))
        state = replace(state, votes=counted)
        if alarm is None and log_evidence(counted, test.familiar_share) >= -math.log(test.alarm):
            bound = at_least(counted, test.alarm)
            alarm = Alarm(state.cast, state.tiles, state.strange, bound)
    return replace(state, alarm=alarm)
