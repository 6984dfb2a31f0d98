"""One score and one call for each window and each contig; a window is judged as a contig of one window.

Either the model set's calibration judges, from the composition of all windows and the scores of their open
frames together, or, for sets whose manifest does not say `score_all`, the original's rule: the frames alone.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from virnucpro.calling.calibration import Calibration, Floats
from virnucpro.calling.tables import MISSING
from virnucpro.defaults import PRESET
from virnucpro.models.model_set import ModelSet

CALLS = ("virus", "others", "no_call")
KINDS = FRAMES, COMPOSITION, BOTH = "frames", "composition", "both"  # of evidence that a score can rest on
TIERS = ("high", "medium", "low")
TIE = 0.5  # of the original's rule: virus from here on
_SMALLEST = 1e-6  # of a probability, in a logarithm
Texts = NDArray[np.str_]


@dataclass(frozen=True)
class Evidence:
    """What is known of n windows, or of n contigs. `length`: bases. `composition`: log-odds, NaN where too
    few bases are A, C, G or T. `frames`: log(v / o), of a contig the mean over its windows with an open
    frame; v and o are the highest P(virus) and P(others) over a window's frames. `ratio`: v / (v + o), the
    same way. Both are NaN without an open frame. `share`: of a contig's windows, by bases, those with one."""

    length: Floats
    composition: Floats
    frames: Floats
    ratio: Floats
    share: Floats

    @classmethod
    def of_windows(cls, length: Floats, composition: Floats, virus: Floats, others: Floats) -> "Evidence":
        """All arrays are (n,); `virus` and `others` are NaN where no frame is open."""
        total = virus + others
        ratio = np.where(total == 0, TIE, virus / np.where(total == 0, 1.0, total))
        odds = np.clip(virus, _SMALLEST, 1.0) / np.clip(others, _SMALLEST, 1.0)
        open_ = ~np.isnan(virus)
        return cls(length, composition.astype(np.float64), np.log(odds), ratio, open_.astype(np.float64))

    def pooled(self, owner: NDArray[np.intp], length: Floats) -> "Evidence":
        """That of contigs of these lengths (m,), from their windows; `owner` (n,) says whose each is."""

        def mean(values: Floats, weight: Floats) -> Floats:
            known = ~np.isnan(values)
            total = np.bincount(owner, np.where(known, weight, 0.0), len(length))
            summed = np.bincount(owner, np.where(known, values * weight, 0.0), len(length))
            return np.asarray(np.divide(summed, total, out=np.full(len(length), np.nan), where=total > 0))

        one = np.ones(len(owner))
        return Evidence(
            length,
            composition=mean(self.composition, self.length),
            frames=mean(self.frames, one),
            ratio=mean(self.ratio, one),
            share=np.nan_to_num(mean(self.share, self.length)),
        )


@dataclass(frozen=True)
class Verdicts:
    """Of n windows or contigs. `score`: P(virus), NaN where there is none; `composition`: the same by
    composition alone. `evidence`: what the score rests on; `call`: virus, others or no_call; `tier`: how sure
    a call of virus is. All but `call` are NA where nothing can be said."""

    score: Floats
    composition: Floats
    evidence: Texts
    call: Texts
    tier: Texts


def calibration_of(models: ModelSet) -> Calibration:
    """A model set's calibration; one that is not its own knows nothing of its frame scores."""
    found = Calibration.read(models.calibration)
    return found if models.own_calibration else replace(found, both=None)


@dataclass(frozen=True)
class Judge:
    """How a run calls. `score_all`: the calibrated score decides, else the original's rule. `preset`: whose
    cut-offs, None for the default; `min_score`: one cut-off for all, in place of the preset's."""

    calibration: Calibration
    score_all: bool
    preset: str | None = None
    min_score: float | None = None

    @classmethod
    def of(
        cls, models: ModelSet, score_all: bool | None, preset: str | None, min_score: float | None
    ) -> "Judge":
        """For a model set; `score_all` None: as its manifest says."""
        decides = models.score_all if score_all is None else score_all
        return cls(calibration_of(models), decides, preset, min_score)

    def cutoff(self, length: Floats) -> Floats:
        """From which score on a sequence of each length (n,) is called virus, (n,)."""
        if self.min_score is not None:
            return np.full(len(length), self.min_score)
        if self.preset is None and not self.score_all:
            return np.full(len(length), TIE)
        return self.calibration.cutoff(self.preset or PRESET, length)

    def __call__(self, found: Evidence) -> Verdicts:
        """The verdicts, on scores rounded to the tables' digits, so that calls agree with what is written."""
        length, calibration = found.length, self.calibration
        composed, framed = np.zeros(len(length), dtype=bool), found.share > 0
        score = np.full(len(length), np.nan)
        if self.score_all:
            score = np.round(calibration.score(length, found.composition, found.frames, found.share), 6)
            composed, framed = ~np.isnan(found.composition), framed & (calibration.both is not None)
        alone = np.isnan(score) & ~np.isnan(found.ratio)  # frames with nothing to set them against
        score = np.where(alone, np.round(found.ratio, 9), score)
        cutoff = self.cutoff(length)
        return Verdicts(
            score,
            composition=np.round(calibration.composition_score(length, found.composition), 6),
            evidence=np.array([MISSING, FRAMES, COMPOSITION, BOTH])[(framed | alone) + 2 * composed],
            call=np.where(np.isnan(score), "no_call", np.where(score >= cutoff, "virus", "others")),
            tier=self._tier(score, length),
        )

    def _tier(self, score: Floats, length: Floats) -> Texts:
        if not self.score_all:
            return np.full(len(score), MISSING)  # the original's scores are not calibrated
        sure = [score >= self.calibration.cutoff(preset, length) for preset in ("strict", "balanced")]
        tier = np.select(sure, TIERS[:2], TIERS[2])
        return np.where(score >= self.cutoff(length), tier, MISSING)

    def facts(self) -> dict[str, Any]:
        """What the summary and the report say of it; `cutoffs`: the lowest and the highest at any length."""
        cutoffs = self.cutoff(np.array(self.calibration.knots, dtype=np.float64))
        lowest, highest = float(cutoffs.min()), float(cutoffs.max())
        preset = (self.preset or (PRESET if self.score_all else None)) if self.min_score is None else None
        if not self.score_all:
            rule = "the original's rule, from open frames alone"
        elif self.calibration.both:
            rule = "the calibrated score of composition and open frames"
        else:
            rule = "the calibrated score of composition alone (this set's frame scores are not calibrated)"
        span = f"{lowest:g} on" if lowest == highest else f"{lowest:g} to {highest:g} on, by length"
        named = f" (preset {preset})" if preset else ""
        return {
            "rule": f"{rule}; virus from {span}{named}",
            "score_all": self.score_all,
            "preset": preset,
            "min_score": self.min_score,
            "cutoffs": [lowest, highest],
        }
