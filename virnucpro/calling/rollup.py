"""From the windows of one record to one call: ours, and the roll-up that viral-ngs computes.

Ours: the score of a record is the mean over its scored windows, its call the majority of their calls.
The roll-up weighs every window by how decided it is; its cut-offs are those of viral-ngs.
"""

from math import sqrt
from typing import NamedTuple

CALLS = ("virus", "others", "no_call")

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


def call(virus_wins: bool, virus_score: float, min_score: float | None) -> str:
    """`virus` when it wins and reaches `min_score` (if one is set), else `others`."""
    return "virus" if virus_wins and (min_score is None or virus_score >= min_score) else "others"


class Tier(NamedTuple):
    """The roll-up's verdict; numbers rounded to 3 digits, as viral-ngs writes them."""

    tier: str
    weighted_delta: float
    n_confident_viral: int
    n_confident_nonviral: int
    n_ambiguous: int
    viral_proportion: float
    nonviral_proportion: float
    rollup_call: str


class RollUp:
    """Sums over the scored windows of one record; constant memory for any number of windows."""

    def __init__(self) -> None:
        self.windows = 0
        self.viral_windows = 0
        self._virus = 0.0
        self._delta = 0.0
        self._weight = 0.0
        self._confident_viral = 0
        self._confident_nonviral = 0
        self._ambiguous = 0

    def add(self, others: float, virus: float, viral: bool) -> None:
        """One window: its two maxima over its frames, and whether it was called virus."""
        weight = sqrt(abs(virus - others))
        self.windows += 1
        self.viral_windows += viral
        self._virus += virus
        self._delta += (virus - others) * weight
        self._weight += weight
        self._confident_viral += virus > _SURE and others < _WEAK
        self._confident_nonviral += others > _SURE and virus < _WEAK
        self._ambiguous += virus > _BOTH and others > _BOTH

    @property
    def virus_score(self) -> float:
        """Mean over the scored windows, to 9 significant digits, which is what the table says."""
        return float(f"{self._virus / self.windows:.9g}")

    def call(self, min_score: float | None) -> str:
        if self.windows == 0:
            return "no_call"
        return call(2 * self.viral_windows >= self.windows, self.virus_score, min_score)

    def tier(self) -> Tier:
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
        return Tier(
            tier=tier,
            weighted_delta=round(delta, 3) + 0.0,  # no minus before a zero
            n_confident_viral=self._confident_viral,
            n_confident_nonviral=self._confident_nonviral,
            n_ambiguous=self._ambiguous,
            viral_proportion=round(viral, 3),
            nonviral_proportion=round(nonviral, 3),
            rollup_call=verdict,
        )


def _tier(strength: float, proportion: float) -> str:
    if proportion < _MIN_PROPORTION:
        return "low_confidence"
    return "high_confidence" if strength > _HIGH_CUT else "moderate_confidence"
