"""The roll-up that viral-ngs computes from the scored windows of a record, in a table of its own.

Every window weighs by how decided it is; cut-offs and rounding are viral-ngs's. It is another verdict than
ours, so it stands in no table of ours.
"""

from math import sqrt
from typing import NamedTuple

_SURE, _WEAK, _BOTH = 0.8, 0.3, 0.7  # a confident window: winner > 0.8, loser < 0.3; ambiguous: both > 0.7
_CUT, _HIGH_CUT = 0.3, 0.6  # on |weighted_delta|
_MIN_PROPORTION = 0.1  # confident windows among the unambiguous ones
_MIN_WINDOWS = 5  # below it the tier goes one notch down
_DEMOTED = {
    "high_confidence": "low_confidence",
    "moderate_confidence": "low_confidence",
    "low_confidence": "review",
    "review": "review",
}


class Verdict(NamedTuple):
    """The columns after `ID`; numbers rounded to 3 digits, as viral-ngs writes them."""

    call: str
    tier: str
    weighted_delta: float
    n_chunks: int
    n_confident_viral: int
    n_confident_nonviral: int
    n_ambiguous: int
    viral_proportion: float
    nonviral_proportion: float


VIRAL_NGS = ("ID", *Verdict._fields)


class RollUp:
    """Sums over the scored windows of one record; constant memory for any number of windows."""

    def __init__(self) -> None:
        self.windows = 0
        self._delta = 0.0
        self._weight = 0.0
        self._confident_viral = 0
        self._confident_nonviral = 0
        self._ambiguous = 0

    def add(self, others: float, virus: float) -> None:
        """One window: its two maxima over its frames."""
        weight = sqrt(abs(virus - others))
        self.windows += 1
        self._delta += (virus - others) * weight
        self._weight += weight
        self._confident_viral += virus > _SURE and others < _WEAK
        self._confident_nonviral += others > _SURE and virus < _WEAK
        self._ambiguous += virus > _BOTH and others > _BOTH

    def verdict(self) -> Verdict:
        """Needs one scored window at least."""
        # All weights are zero only when all deltas are.
        delta = self._delta / self._weight if self._weight > 0 else 0.0
        clear = self.windows - self._ambiguous
        viral = self._confident_viral / clear if clear else 0.0
        nonviral = self._confident_nonviral / clear if clear else 0.0
        if delta > _CUT:
            verdict, tier = "Viral", _tier(delta, viral)
        elif delta < -_CUT:
            verdict, tier = "Non-viral", _tier(-delta, nonviral)
        else:
            verdict, tier = "Ambiguous", "review"
        if self.windows < _MIN_WINDOWS:
            tier = _DEMOTED[tier]
        return Verdict(
            call=verdict,
            tier=tier,
            weighted_delta=round(delta, 3) + 0.0,  # no minus before a zero
            n_chunks=self.windows,
            n_confident_viral=self._confident_viral,
            n_confident_nonviral=self._confident_nonviral,
            n_ambiguous=self._ambiguous,
            viral_proportion=round(viral, 3),
            nonviral_proportion=round(nonviral, 3),
        )


def _tier(strength: float, proportion: float) -> str:
    if proportion < _MIN_PROPORTION:
        return "low_confidence"
    return "high_confidence" if strength > _HIGH_CUT else "moderate_confidence"
