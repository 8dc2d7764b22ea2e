"""Where on Earth the rehearsal lies: ground pixels to UTM and to longitude and latitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pyproj import Transformer

from edge_agent.rehearsal.covers import GSD_M

EPSG: Final = 32633
"""UTM zone 33 north. Near its central meridian grid north is true north."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """The ground's north-west corner in metres of the UTM grid."""

    east: float
    north: float

    def utm(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Easting and northing of points in ground pixels (edges count, not middles)."""
        return (
            self.east + np.asarray(columns, dtype=np.float64) * GSD_M,
            self.north - np.asarray(rows, dtype=np.float64) * GSD_M,
        )

    def degrees(self, rows: npt.ArrayLike, columns: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Longitude and latitude on WGS 84 of points in ground pixels."""
        transform = Transformer.from_crs(EPSG, 4326, always_xy=True)
        longitude, latitude = transform.transform(*self.utm(rows, columns))
        return np.asarray(longitude), np.asarray(latitude)


def choose_place(seed: int) -> Place:
    """Somewhere in Lower Austria, within 3 km of the meridian 15 degrees east."""
    rng = np.random.default_rng([seed, 13])
    return Place(
        round(500_000 + rng.uniform(-3_000, 3_000), 1),
        round(5_345_000 + rng.uniform(-9_000, 9_000), 1),
    )
