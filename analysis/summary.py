"""Runs of one config under several seeds: one figure, tables, and what they say.

Everything is per test set, (family, set).  A line is what one arm does by one method at one n, in
every run; what some run lacks is left out.  `trivial` is one line: each run's best trivial rule.
"""
import json
import os

import numpy as np

from . import plots, stats, tables
from .plots import METHOD_TITLES, title
from .runs import TEACHER, rows, same_tasks, where

SHOWN = (1, 10, 50)  # numbers of rules and votes in the table, beside the largest


def lines(runs, of):
    """The lines of a test set, as dictionaries: arm, method, n, and per run accuracy, low, high, tokens."""
    family, name = of
    mine = [where(r.results, family=family, set=name, parse="tolerant") for r in runs]
    found = [{(x["arm"], x["method"], int(x["n"])): x for x in rows(m)} for m in mine]
    best = [max((x for k, x in f.items() if k[0] == "trivial"), key=lambda x: x["accuracy"], default=None) for f in found]
    out = [_line(key, [f[key] for f in found]) for key in found[0] if key[0] != "trivial" and all(key in f for f in found)]
    if all(best):
        names = [b["method"] for b in best]
        out.append({**_line(("trivial", ", ".join(dict.fromkeys(names)), 0), best), "rules": names})
    return out


def _line(key, results):
    columns = {c: np.array([r[c] for r in results], float) for c in ("accuracy", "low", "high")}
    return {"arm": key[0], "method": key[1], "n": key[2], **columns,
            "tokens": np.array([r["tokens_per_query"] for r in results], float)}


def largest(some):
    """Of lines that differ in n only, the one with the largest."""
    out = {}
    for x in some:
        key = x["arm"], x["method"]
        if key not in out or x["n"] > out[key]["n"]:
            out[key] = x
    return list(out.values())


def difference(runs, of, a, b):
    """a's right answers minus b's on the same problems, over problems and seeds; None without predictions."""
    sides = []
    for x in (a, b):
        p = [where(r.problems(x["arm"], x["method"], x["n"]), family=of[0], set=of[1]) for r in runs]
        if not all(len(q["id"]) for q in p):
            return None
        sides.append(p)
    if any(list(p[c]) != list(q[c]) for p, q in zip(*sides) for c in ("source", "id")):
        return None
    same = all(same_tasks(runs[0].config, r.config) for r in runs[1:])
    return stats.bootstrap(*([(p["right"], p["total"]) for p in side] for side in sides), crossed=same,
                           purpose=("summary", *of, *(f"{x['arm']} {x['method']} {x['n']}" for x in (a, b))))


def contests(runs, of, mine):
    """mine: the test set's lines.  Every search at its largest n against what arms without search do,
    random rules, the best trivial rule, the teacher and the search of arms before it (ORPO's against
    SFT's): (search, [(rival, apart, difference)]), apart: in how many runs its interval lies above the
    rival's."""
    every, out = largest(mine), []
    searching = {x["arm"] for x in every if x["method"] == "search"}
    for k, x in enumerate(every):
        if x["method"] != "search" or x["arm"] == TEACHER:
            continue
        rivals = [y for j, y in enumerate(every) if y["arm"] not in searching or y["method"] == "random_rules"
                  or y["arm"] == TEACHER or (j < k and y["method"] == "search")]
        out.append((x, [(y, int((x["low"] > y["high"]).sum()), None if y["arm"] == "trivial" else difference(runs, of, x, y))
                        for y in rivals]))
    return out


def _name(x):
    if x["arm"] == "trivial":
        return f"the best trivial rule ({x['method']})"
    return f"{x['arm']}, {METHOD_TITLES.get(x['method'], x['method'])}" + (f", N = {x['n']}" if x["n"] else "")


def _percent(values):
    return " / ".join(f"{100 * v:.1f}" for v in values)


def said(runs, every):
    """What the figures say, as lines of Markdown.  every: {test set: its lines}."""
    out = []
    for of, mine in every.items():
        for x, rivals in contests(runs, of, mine):
            out.append(f"- **{title(*of)}**: {_name(x)}: {_percent(x['accuracy'])} %")
            for y, apart, e in rivals:
                by = "" if e is None else f"; {100 * e.value:+.1f} points ({100 * e.low:+.1f} to {100 * e.high:+.1f})"
                out.append(f"  - against {_name(y)}: {_percent(y['accuracy'])} %: intervals apart in {apart} of {len(runs)}"
                           + by.replace("-", "−"))
    return out


def table(every):
    """Header and lines of the table; the cells of a test set: right answers of every run, and the mean
    half-width of their intervals."""
    cells, order = {}, []
    for of, mine in every.items():
        last = {id(x) for x in largest(mine)}
        for x in mine:
            if x["n"] and x["n"] not in SHOWN and id(x) not in last:
                continue
            key = (x["arm"], "" if x["arm"] == "trivial" else x["method"], x["n"])
            if key not in cells:
                order.append(key)
            cells.setdefault(key, {})[of] = x
    order.sort(key=lambda k: k[0] == "trivial")
    out = []
    for key in order:
        row = [{"trivial": "best trivial rule"}.get(key[0], key[0]), METHOD_TITLES.get(key[1], key[1]), str(key[2] or "")]
        for of in every:
            x = cells[key].get(of)
            row.append("" if x is None else f"{_percent(x['accuracy'])} ±{50 * (x['high'] - x['low']).mean():.0f}")
        spent = [cells[key][of]["tokens"].mean() for of in every if of in cells[key]]
        row.append(" / ".join(f"{t:,.0f}" for t in spent) if any(spent) else "")
        out.append(row)
    return ["arm", "method", "N", *(f"{title(*of)} %" for of in every), "tokens/query"], out


def by_arms(every):
    """The test sets in parts: those of a part were answered by the same arms."""
    out = {}
    for of, mine in every.items():
        out.setdefault(tuple(dict.fromkeys(x["arm"] for x in mine)), {})[of] = mine
    return list(out.values())


def _but_seed(config):
    """A config as JSON, without what every seed has of its own."""
    run = {k: v for k, v in config.get("run", {}).items() if k not in ("seed", "name", "dir")}
    return json.dumps({**config, "run": run}, sort_keys=True)


def check(runs):
    """Are these runs of one config, each with another seed?"""
    seeds = {}
    for r in runs:
        seed = r.config.get("run", {}).get("seed")
        if _but_seed(r.config) != _but_seed(runs[0].config):
            raise SystemExit(f"analysis: {r.path}: another config than {runs[0].path}'s, not just another seed")
        if seed in seeds:
            raise SystemExit(f"analysis: {r.path}: seed {seed} again, as in {seeds[seed]}")
        seeds[seed] = r.path


def write(runs, folder):
    """summary.svg, summary.md and summary.csv in a folder.  Returns the path of summary.md."""
    check(runs)
    os.makedirs(folder, exist_ok=True)
    sets = [of for of in plots.test_sets(runs[0].results) if all(of in plots.test_sets(r.results) for r in runs)]
    if not sets:
        raise SystemExit("analysis: these runs have no test set in common")
    arms = list(dict.fromkeys(a for r in runs for a in r.arms))
    every = {of: lines(runs, of) for of in sets}
    figure = plots.by_seed([(title(*of), mine) for of, mine in every.items()], arms)
    figure.savefig(os.path.join(folder, "summary.svg"), format="svg", metadata={"Date": None})
    seeds = [r.config.get("run", {}).get("seed", "?") for r in runs]
    text = [f"Right answers in %, seeds {' / '.join(map(str, seeds))}, with the mean half-width of one run's 95 % interval.", ""]
    for part in by_arms(every):
        header, shown = table(part)
        text += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *("| " + " | ".join(r) + " |" for r in shown), ""]
    text += [*said(runs, every), "", *(f"- missing in {r.path}: {m}" for r in runs for m in r.missing)]
    path = os.path.join(folder, "summary.md")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(text).rstrip() + "\n")
    raw = [(seed, *of, x["arm"], x["rules"][k] if "rules" in x else x["method"], x["n"],
            *(x[c][k] for c in ("accuracy", "low", "high", "tokens")))
           for of, mine in every.items() for x in mine for k, seed in enumerate(seeds)]
    tables.write_csv(os.path.join(folder, "summary.csv"),
                     ("seed", "family", "set", "arm", "method", "n", "accuracy", "low", "high", "tokens_per_query"), raw)
    return path
