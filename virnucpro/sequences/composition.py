"""What a sequence is made of, as numbers: words, repeats, and each of the six reading frames, stops allowed.

No open frame is needed, and neither strand is the first: a sequence and its reverse complement have the same
whole-sequence features, and the same frames in another order.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from virnucpro.sequences.letters import CODONS, REACH, Counts, Letters

Features = npt.NDArray[np.float32]
FRAMES = 6
LAGS = range(1, REACH + 1)  # steps between two letters that are compared
_AMINO_ACIDS = "KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF"  # of AAA, AAC, ... TTT
_RESIDUES = sorted(set(_AMINO_ACIDS))  # 20 and the stop
_UNKNOWN = len(_RESIDUES)


def _reverse_complements(length: int) -> npt.NDArray[np.int64]:
    words = np.arange(4**length)
    turned = np.zeros_like(words)
    for place in range(length):
        turned = 4 * turned + 3 - (words >> (2 * place)) % 4
    return turned


def _strand_free(length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each word and its reverse complement the one that comes first, and the other."""
    turned = _reverse_complements(length)
    words = np.flatnonzero(np.arange(4**length) <= turned)
    return words, turned[words]


_TURNED = _reverse_complements(3)
_RESIDUE = np.array([_RESIDUES.index(residue) for residue in _AMINO_ACIDS] + [_UNKNOWN])
_RESIDUE_TURNED = np.append(_RESIDUE[_TURNED], _UNKNOWN)  # of the codon on the other strand
_BREAK = np.array([residue == "*" for residue in _AMINO_ACIDS] + [True])
_BREAK_TURNED = np.append(_BREAK[_TURNED], True)
_STOPS = [codon for codon, residue in enumerate(_AMINO_ACIDS) if residue == "*"]
_WORDS = {length: _strand_free(length) for length in range(1, 6)}

WHOLE = 2 + sum(len(words) for words, _ in _WORDS.values()) + len(_WORDS[2][0]) + 2 * len(LAGS) + 4
FRAME = CODONS + 4 + len(_RESIDUES) ** 2


def features(sequences: Sequence[str]) -> Features:
    """Composition of each sequence: float32 (n, WHOLE + FRAMES * FRAME), the whole first, then the frames.

    Lower case is read; letters other than A, C, G, T, U are left out of all words. All numbers are finite,
    those of a sequence without one known base too.
    """
    if not sequences:
        return np.empty((0, WHOLE + FRAMES * FRAME), dtype=np.float32)
    return features_of(Letters.of(sequences))


def features_of(letters: Letters) -> Features:
    """The same, of letters that have been read."""
    result = np.empty((letters.count, WHOLE + FRAMES * FRAME), dtype=np.float32)
    result[:, :WHOLE] = _whole(letters)
    _frames(letters, result[:, WHOLE:].reshape(letters.count, FRAMES, FRAME))
    return result


def _whole(letters: Letters) -> Features:
    bases = np.maximum(letters.bases(), 1).astype(np.float32)[:, None]
    strand = letters.words5().astype(np.float32)
    total = np.maximum(strand.sum(axis=1, keepdims=True), 1)
    strand /= total
    shares = {5: _both_strands(strand, 5)}
    ahead = behind = strand
    for length in (4, 3, 2, 1):  # the first letters of the words of five, and the last
        ahead = ahead[:, 0::4] + ahead[:, 1::4] + ahead[:, 2::4] + ahead[:, 3::4]
        behind = behind.reshape(len(behind), 4, -1).sum(axis=1)
        shares[length] = _both_strands((ahead + behind) / 2, length)
    single = shares[1][:, [0, 1, 1, 0]] / 2  # A, C, G, T on both strands together
    one, other = _WORDS[2]
    expected = single[:, one // 4] * single[:, one % 4] * np.where(one == other, 1, 2)
    lags = np.stack([letters.repeats(lag) for lag in LAGS], axis=1) / bases
    columns = [
        np.log(bases / 500),
        np.minimum(bases / 500, 2),
        *(shares[length] for length in (1, 2, 3)),
        np.sqrt(shares[4]),
        np.sqrt(shares[5]),
        np.log((shares[2] + 1e-3) / (expected + 1e-3)),
        lags,
        lags - (single**2).sum(axis=1, keepdims=True),
        _entropy(shares[3]),
        _entropy(shares[4]),
        (shares[5] > 0).sum(axis=1, keepdims=True) / total,
        (shares[5] ** 2).sum(axis=1, keepdims=True) * 250,
    ]
    return np.concatenate(columns, axis=1, dtype=np.float32)


def _both_strands(shares: Features, length: int) -> Features:
    """Add each word's share and that of its reverse complement: (n, 4**length) -> (n, words)."""
    one, other = _WORDS[length]
    added: Features = shares[:, one] + np.where(one == other, 0, shares[:, other])
    return added


def _entropy(shares: Features) -> Features:
    entropy: Features = -(shares * np.log(shares + np.float32(1e-9))).sum(axis=1, keepdims=True)
    return entropy


def _frames(letters: Letters, result: Features) -> None:
    """Into `result` (n, 6, FRAME): codons, the longest stretch without a stop, stops, pairs of residues."""
    here = letters.codons
    after = np.concatenate([here[1:], np.full((1, 3), CODONS)])
    codons = result[:, :, :CODONS]
    codons[:, :3] = letters.in_phase(here, CODONS + 1)[:, :, :CODONS]
    codons[:, 3:] = codons[:, :3, _TURNED]
    total = np.maximum(codons.sum(axis=2, keepdims=True), 1)
    stops = codons[:, :, _STOPS].sum(axis=2, keepdims=True)
    runs = [letters.longest_runs(table[here]) for table in (_BREAK, _BREAK_TURNED)]
    longest = np.concatenate(runs, axis=1).astype(np.float32)[:, :, None]
    scalars = [longest / total, np.sqrt(longest / 64), np.log1p(stops), np.log1p(total)]
    result[:, :, CODONS : CODONS + len(scalars)] = np.concatenate(scalars, axis=2)
    residues = result[:, :, CODONS + len(scalars) :]
    base = _UNKNOWN + 1
    forward = letters.in_phase(_RESIDUE[here] * base + _RESIDUE[after], base**2)
    turned = letters.in_phase(_RESIDUE_TURNED[after] * base + _RESIDUE_TURNED[here], base**2)
    residues[:, :3] = _without_unknown(forward)
    residues[:, 3:] = _without_unknown(turned)
    for counts in (codons, residues):
        counts /= total
        np.sqrt(counts, out=counts)


def _without_unknown(pairs: Counts) -> Counts:
    """Counts of pairs of residues (n, 3, 22 * 22) without those of an unknown one: (n, 3, 21 * 21)."""
    square = pairs.reshape(*pairs.shape[:2], _UNKNOWN + 1, _UNKNOWN + 1)
    return square[:, :, :_UNKNOWN, :_UNKNOWN].reshape(*pairs.shape[:2], -1)
