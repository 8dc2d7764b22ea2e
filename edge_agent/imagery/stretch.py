"""From any sample type to 8 bits, by one rule for the whole frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]
LOW_PERCENT, HIGH_PERCENT = 2.0, 98.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Linear from [low, high] to [0, 255], cut off beyond."""

    low: float
    high: float
    note: str

    def apply(self, samples: Samples) -> npt.NDArray[np.uint8]:
        """8-bit values of `samples`, any shape; those that are not finite become 0."""
        if samples.dtype in (np.uint8, np.uint16):
            levels = np.arange(np.iinfo(samples.dtype).max + 1, dtype=np.float64)
            table: npt.NDArray[np.uint8] = self._levels(levels).astype(np.uint8)
            return table[samples]
        kind = np.float32 if samples.dtype == np.float32 else np.float64
        levels = self._levels(np.nan_to_num(samples.astype(kind), copy=False))
        pixels: npt.NDArray[np.uint8] = levels.astype(np.uint8)
        return pixels

    def _levels(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        np.clip(values, self.low, self.high, out=values)
        values -= self.low
        values *= 255.0 / (self.high - self.low)
        values += 0.5
        np.floor(values, out=values)
        return values


def choose_stretch(sample: Samples, *, floating: bool) -> Stretch:
    """The rule for a frame, by some of its valid pixels (1-D, finite).

    Floats within 0..1 or 0..255 are taken as that range; everything else from its 2nd to its
    98th percentile, all bands together, so that colours keep their balance.
    """
    if not sample.size:
        return Stretch(0.0, 1.0, "no valid pixels to choose a stretch by")
    values = sample.astype(np.float64)
    least, most = float(values.min()), float(values.max())
    if floating and least >= 0.0 and most <= 255.0:
        top = 1.0 if most <= 1.0 else 255.0
        return Stretch(0.0, top, f"float samples taken as 0..{top:.0f}")
    low, high = (float(value) for value in np.percentile(values, (LOW_PERCENT, HIGH_PERCENT)))
    if not high > low:
        low, high = least, most if most > least else least + max(1.0, abs(least) * 1e-6)
    return Stretch(low, high, f"stretched to 8 bits from {low:.6g}..{high:.6g}")
