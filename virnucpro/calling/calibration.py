"""What a score means: from a contig's evidence to a probability, and the cut-offs that go with it.

A model set's `calibration.json` holds, for a few lengths in bases, the coefficients of a logistic regression
on sequences of known origin that no part of the set was trained on. Between these lengths everything is
interpolated in the logarithm of the length; below the first and above the last it is constant.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from virnucpro.defaults import PRESETS
from virnucpro.errors import InputError
from virnucpro.files import atomic

Floats = NDArray[np.float64]

KNOTS = (300, 500, 1000, 2000, 3000)  # lengths in bases
_OF_A_POINT = ("score", "precision", "recall", "false_positive_rate")


@dataclass(frozen=True)
class Fit:
    """A score and what it is worth. `coefficients` (knots, m): of a logistic regression on m - 1 terms,
    intercept first. `presets`: a cut-off on the score for each knot, strict >= balanced >= sensitive.
    `curve`: for each knot, points of score, precision, recall and false positive rate by class."""

    coefficients: Floats
    presets: Mapping[str, Floats]
    curve: Sequence[Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Calibration:
    """`composition`: sigmoid(a + b z_c). `both`: sigmoid(a + b z_c + c s z_f + d s), None where the frame
    scores of the set were not calibrated; where they were, it decides. b and c are not negative. `about`: how
    it was fitted."""

    composition: Fit
    both: Fit | None
    knots: tuple[int, ...] = KNOTS
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def deciding(self) -> Fit:
        """That of `score`."""
        return self.both or self.composition

    def composition_score(self, length: ArrayLike, composition: ArrayLike) -> Floats:
        """P(virus) by composition alone, (n,); NaN where `composition`, the log-odds, is NaN."""
        a, b = self._at(length, self.composition.coefficients)
        return sigmoid(a + b * np.asarray(composition, dtype=np.float64))

    def score(self, length: ArrayLike, composition: ArrayLike, frames: ArrayLike, share: ArrayLike) -> Floats:
        """P(virus) from all evidence, (n,).

        `composition`: z_c, NaN where there is none. `frames`: z_f, the mean log(P(virus) / P(others)) of the
        windows with an open frame, NaN where no window has one. `share`: s, the share of such windows. Where
        frame scores were not calibrated they count for nothing; NaN where nothing counts.
        """
        if self.both is None:
            return self.composition_score(length, composition)
        z_c = np.asarray(composition, dtype=np.float64)
        z_f = np.asarray(frames, dtype=np.float64)
        s = np.asarray(share, dtype=np.float64)
        a, b, c, d = self._at(length, self.both.coefficients)
        found = sigmoid(a + b * np.nan_to_num(z_c) + c * s * np.nan_to_num(z_f) + d * s)
        return np.where(np.isnan(z_c) & np.isnan(z_f), np.nan, found)

    def cutoff(self, preset: str, length: ArrayLike) -> Floats:
        """The preset's cut-off on the score for each length, (n,)."""
        return self._at(length, self.deciding.presets[preset][:, None])[0]

    def _at(self, length: ArrayLike, table: Floats) -> list[Floats]:
        """The columns of a (knots, m) table, interpolated: m arrays (n,)."""
        x = np.log(np.maximum(np.asarray(length, dtype=np.float64), 1.0))
        return [np.interp(x, np.log(self.knots), column) for column in table.T]

    def write(self, path: Path) -> None:
        """Write as JSON, coefficients to six digits."""
        content = {
            "knots": list(self.knots),
            "composition": _plain(self.composition),
            "frames": self.both and _plain(self.both),
            "about": dict(self.about),
        }
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` has written. Raises `InputError` naming the file and the key at fault."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not a calibration ({error})") from None
        return cls(**_Reader(path, content).fields())


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _plain(fit: Fit) -> dict[str, Any]:
    def rounded(values: Floats) -> list[float]:
        return [float(f"{value:.6g}") for value in values]

    return {
        "coefficients": [rounded(row) for row in fit.coefficients],
        "presets": {name: rounded(values) for name, values in fit.presets.items()},
        "curve": [[dict(point) for point in points] for points in fit.curve],
    }


class _Reader:
    """Takes the JSON of one file apart; every complaint names the file and the key."""

    def __init__(self, path: Path, content: Any) -> None:
        self._path, self._content = path, content

    def fields(self) -> dict[str, Any]:
        knots = self._get(self._content, "knots")
        whole = isinstance(knots, list) and all(type(knot) is int and knot > 0 for knot in knots)
        if not whole or not knots or sorted(set(knots)) != knots:
            self._wrong("knots", "one length or more in bases, in rising order", knots)
        about = self._content.get("about", {})
        if not isinstance(about, dict):
            self._wrong("about", "an object", about)
        return {
            "composition": self._fit("composition", len(knots), 2),
            "both": None
            if self._get(self._content, "frames") is None
            else self._fit("frames", len(knots), 4),
            "knots": tuple(knots),
            "about": about,
        }

    def _fit(self, name: str, knots: int, columns: int) -> Fit:
        given = self._get(self._content, name)
        coefficients = self._matrix(f"{name}.coefficients", self._get(given, "coefficients"), knots, columns)
        if (coefficients[:, 1:3] < 0).any():
            self._wrong(f"{name}.coefficients", "not below 0 after the intercept", coefficients.tolist())
        presets = self._presets(f"{name}.presets", self._get(given, "presets"), knots)
        return Fit(coefficients, presets, self._curve(f"{name}.curve", self._get(given, "curve"), knots))

    def _presets(self, key: str, given: Any, knots: int) -> dict[str, Floats]:
        if not isinstance(given, dict) or set(given) != set(PRESETS):
            self._wrong(key, f"an object of {', '.join(PRESETS)}", given)
        read = {name: self._matrix(f"{key}.{name}", [given[name]], 1, knots)[0] for name in PRESETS}
        rising = np.array([read[name] for name in reversed(PRESETS)])
        if rising.min() < 0 or rising.max() > 1 or (np.diff(rising, axis=0) < 0).any():
            self._wrong(key, "from 0 to 1, strict not below balanced, balanced not below sensitive", given)
        return read

    def _curve(self, key: str, curve: Any, knots: int) -> list[list[dict[str, Any]]]:
        if not isinstance(curve, list) or len(curve) != knots or not all(isinstance(p, list) for p in curve):
            self._wrong(key, f"{knots} lists of points, one for each knot", curve)
        for point in (point for points in curve for point in points):
            rates = point.get("false_positive_rate") if isinstance(point, dict) else None
            if not isinstance(rates, dict) or set(point) != set(_OF_A_POINT):
                self._wrong(key, f"points of {', '.join(_OF_A_POINT)}, the last by class", point)
            numbers = [point[name] for name in _OF_A_POINT[:3]] + list(rates.values())
            if not all(_is_number(number) and 0 <= number <= 1 for number in numbers):
                self._wrong(key, "numbers from 0 to 1", point)
        return list(curve)

    def _matrix(self, key: str, value: Any, rows: int, columns: int) -> Floats:
        fits = (
            isinstance(value, list)
            and len(value) == rows
            and all(isinstance(row, list) and len(row) == columns for row in value)
            and all(_is_number(number) for row in value for number in row)
        )
        if not fits:
            self._wrong(key, f"{columns} numbers{f' in each of {rows} lists' if rows > 1 else ''}", value)
        return np.array(value, dtype=np.float64)

    def _get(self, content: Any, key: str) -> Any:
        if not isinstance(content, dict) or key not in content:
            raise InputError(f"{self._path}: not a calibration (it has no {key!r}); make it again")
        return content[key]

    def _wrong(self, key: str, wanted: str, found: object) -> NoReturn:
        raise InputError(f"{self._path}: {key!r} must be {wanted}, not {found!r:.100}; make it again")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
