"""Intervals.

Queries of one problem stand or fall together, so problems are the units; and where there are
several seeds, these are units too.  Random numbers are keyed by what they are for: a result does
not depend on what else was computed, or in which order.
"""
import hashlib
import math
from typing import NamedTuple

import numpy as np

Z95 = 1.959963984540054
_T975 = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646, 8: 2.3060, 9: 2.2622,
         10: 2.2281, 12: 2.1788, 15: 2.1314, 20: 2.0860, 30: 2.0423, 60: 2.0003, 120: 1.9799, math.inf: Z95}
DRAWS = 4000
_AT_ONCE = 1 << 21  # numbers of one batch of draws


class Estimate(NamedTuple):
    """A share or a difference of shares with its 95 % interval."""
    value: float
    low: float
    high: float
    problems: int
    seeds: int

    @property
    def apart(self):
        """Does the interval of a difference leave out 0?"""
        return self.low > 0 or self.high < 0


def keyed(*words):
    """A generator of random numbers that follows from the words alone."""
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def t975(df):
    """The quantile of Student's t at 0.975, interpolated in 1 / df between tabled values."""
    df = max(df, 1.0)
    known = list(_T975)
    upper = next(k for k in known if k >= df)
    if upper == df:
        return _T975[upper]
    lower = known[known.index(upper) - 1]
    share = (1 / lower - 1 / df) / (1 / lower - 1 / upper)
    return _T975[lower] + share * (_T975[upper] - _T975[lower])


def wilson(n, p):
    """Wilson's interval for a share p of n independent units."""
    z2, scale = Z95 * Z95, 1 / (1 + Z95 * Z95 / n)
    middle = (p + z2 / (2 * n)) * scale
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) * scale
    return (max(0.0, middle - half) if p > 0 else 0.0), (min(1.0, middle + half) if p < 1 else 1.0)


def cluster_interval(right, total):
    """Accuracy over queries and its 95 % interval, clustered by problem: (accuracy, low, high).

    right[i] of total[i] queries of problem i are right.  The program's own formula
    (src/infer/interval.c): the ratio estimator's variance, or Wilson's bounds where it is zero.
    """
    right, total = np.asarray(right, float), np.asarray(total, float)
    right, total = right[total > 0], total[total > 0]
    units, everything = len(total), total.sum()
    if units == 0:
        return 0.0, 0.0, 1.0
    p = right.sum() / everything
    squares = ((right - p * total) ** 2).sum()
    if units < 2 or squares < 1e-18 * everything:
        return (p, *wilson(units, p))
    half = Z95 * math.sqrt(units / (units - 1) * squares / everything**2)
    return p, max(0.0, p - half), min(1.0, p + half)


def _variance(z, crossed):
    """Variance of the mean of z[seed, problem], and its degrees of freedom."""
    s, p = z.shape
    by_seed, by_problem = z.mean(1), z.mean(0)
    if s == 1:
        return (z**2).sum() / (p * max(p - 1, 1)), p - 1
    v_seed = (by_seed**2).sum() / (s * (s - 1))
    if crossed:  # two-way: what is neither seed's nor problem's is in both terms, once too often
        v_problem = (by_problem**2).sum() / (p * max(p - 1, 1))
        rest = z - by_seed[:, None] - by_problem[None, :]
        v = v_seed + v_problem - (rest**2).sum() / (s * p * (s - 1) * max(p - 1, 1))
    else:  # problems of one seed only: seeds' means have their variance in them
        v_problem = ((z - by_seed[:, None]) ** 2).sum() / (s * s * p * max(p - 1, 1))
        v = v_seed
    v = max(v, v_seed, v_problem)
    if v == 0:
        return 0.0, 1.0
    # Satterthwaite.  Of so few seeds, little variance may be luck: half of it counts as theirs.
    of_seeds = max(v - v_problem, v_seed / 2)
    return v, v * v / (of_seeds**2 / (s - 1) + v_problem**2 / max(p - 1, 1))


def _weights(rng, draws, n):
    return rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)


def _draw(rng, sums, crossed, paired, draws):
    """Resampled shares.  sums: [side][right, total][seed, problem]."""
    s, p = sums[0][0].shape
    out = []
    for first in range(0, draws, max(1, _AT_ONCE // p)):
        m = min(max(1, _AT_ONCE // p), draws - first)
        u = _weights(rng, m, s) if s > 1 else np.ones((m, 1))
        w = [_weights(rng, m, p)] * s if crossed else [_weights(rng, m, p) for _ in range(s)]
        value = np.zeros(m)
        for side, (right, total) in enumerate(sums):
            if side == 1 and not paired:
                w = [_weights(rng, m, p)] * s if crossed else [_weights(rng, m, p) for _ in range(s)]
            r = sum(u[:, k] * (w[k] @ right[k]) for k in range(s))
            t = sum(u[:, k] * (w[k] @ total[k]) for k in range(s))
            value += (-1) ** side * r / np.maximum(t, 1e-300)
        out.append(value)
    return np.concatenate(out)


def bootstrap(a, b=None, *, crossed, paired=True, purpose="", draws=DRAWS):
    """A share, or the difference of two shares, with a 95 % bootstrap interval over problems and seeds.

    a, b: lists with one (right, total) per seed, right[i] of total[i] queries of problem i being
    right; b is on the same problems and seeds as a (paired: both are resampled together; else
    problems of b by themselves).  crossed: all seeds have the same problems, which then are
    resampled for all of them at once; otherwise within each seed.

    Seeds are few: their resampled means vary by (S - 1) / S too little, and normal quantiles are too
    short for them.  So deviations of the draws from the estimate are stretched to the unbiased
    variance (two-way, or between seeds) and to Student's quantile with Satterthwaite's degrees of
    freedom; and the interval is symmetric (95 % of the draws' absolute deviations), since the skew
    of three seeds is luck.  With one seed it says nothing of other seeds.
    """
    sides = [x for x in (a, b) if x is not None]
    if len({len(r) for x in sides for r, _ in x}) > 1:  # unequally many problems: pad, weight 0
        n = max(len(r) for x in sides for r, _ in x)
        sides = [[(np.pad(r, (0, n - len(r))), np.pad(t, (0, n - len(t)))) for r, t in x] for x in sides]
    sums = [(np.array([r for r, _ in x], float), np.array([t for _, t in x], float)) for x in sides]
    s, p = sums[0][0].shape
    shares = [r.sum() / t.sum() for r, t in sums]
    value = shares[0] - (shares[1] if b is not None else 0.0)
    z = [(r - q * t) * (s * p / t.sum()) for (r, t), q in zip(sums, shares)]
    if b is None or paired:
        v, df = _variance(z[0] - z[1] if b is not None else z[0], crossed)
    else:
        (v0, d0), (v1, d1) = (_variance(x, crossed) for x in z)
        v = v0 + v1
        df = v * v / (v0 * v0 / max(d0, 1) + v1 * v1 / max(d1, 1)) if v > 0 else 1.0
    drawn = _draw(keyed("bootstrap", purpose, s, p), sums, crossed, paired, draws) - value
    spread = math.sqrt((drawn**2).mean())
    stretch = t975(df) / Z95 * math.sqrt(v) / spread if spread > 0 else 1.0
    half = stretch * np.quantile(np.abs(drawn), 0.95)
    return Estimate(float(value), float(value - half), float(value + half), int((sums[0][1].sum(0) > 0).sum()), s)


def pearson(x, y):
    """Pearson's correlation; not a number where one of them does not vary."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])
