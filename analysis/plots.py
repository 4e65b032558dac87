"""Figures.  Each function returns a matplotlib Figure, or None when there is nothing to show.

Colours are Okabe and Ito's, which colour-blind readers tell apart; beside the colour, arms differ
by marker and methods by line.  Lines are named where they end.
"""
import io
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of the backend)
import numpy as np  # noqa: E402
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator  # noqa: E402

from .runs import TEACHER, where  # noqa: E402

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = {"search": "-", "search_interpreter": (0, (5, 2)), "vote": "-", "random_rules": (0, (1, 1.5)),
         "io": "-", "follow_true_rule": "-"}
INK, QUIET, FAINT = "#222222", "#777777", "#e4e4e4"
TITLES = {"list_function": "List Function", "arc1d": "1D-ARC", "acre": "ACRE", "miniscan": "MiniSCAN"}
METHOD_TITLES = {"io": "direct", "search": "search", "search_interpreter": "search, exact interpreter", "vote": "vote",
                 "random_rules": "random rules", "follow_true_rule": "true rule followed"}
WIDTH = 7.4  # inches; the page's column

plt.rcParams.update({
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.labelsize": 8, "axes.labelcolor": INK, "axes.edgecolor": "#999999",
    "axes.linewidth": 0.7, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": FAINT, "grid.linewidth": 0.7, "xtick.color": "#999999",
    "ytick.color": "#999999", "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5, "xtick.major.width": 0.7, "ytick.major.width": 0.7, "xtick.major.size": 3,
    "ytick.major.size": 3, "lines.linewidth": 1.5, "lines.markersize": 4.5, "text.color": INK,
    "figure.dpi": 110, "savefig.dpi": 160, "svg.fonttype": "path", "svg.hashsalt": "redistill",
    "legend.frameon": False, "legend.fontsize": 7.5})


def title(family, name=""):
    return TITLES.get(family, family) + (f", {name}" if name else "")


def svg(figure, prefix):
    """A figure as an element for a page: no prolog, no names of other places, ids of its own."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    plt.close(figure)
    text = out.getvalue()
    text = re.sub(r"^.*?(?=<svg)", "", text, flags=re.S)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\sid="', f' id="{prefix}-', text)
    text = re.sub(r'xlink:href="#', f'href="#{prefix}-', text)
    text = re.sub(r'url\(#', f'url(#{prefix}-', text)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text).replace(' width="', ' data-width="', 1)


def _percent(axis):
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} %"))


def _log_x(ax, ticks=()):
    """A logarithmic axis with ticks at these values, or at 1 and 3 of every decade."""
    ax.set_xscale("log")
    if ticks:
        ax.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}" if v < 1000 else f"{v / 1000:g}k"))


def _from_zero(ax):
    """Per cent from 0, with points at 0 whole, up to 5 at least."""
    top = max(ax.get_ylim()[1], 5)
    ax.set_ylim(-0.03 * top, top)


def _thousands(v):
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= unit:
            return f"{v / unit:.3g}{name}"
    return f"{v:.3g}"


def _grid_of(n, height, columns=2, **more):
    """n panels, two beside each other."""
    columns = min(columns, n)
    lines = -(-n // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(WIDTH, height * lines), squeeze=False,
                                constrained_layout=True, **more)
    axes = axes.ravel()
    for a in axes[n:]:
        a.set_visible(False)
    return figure, axes[:n]


def _spread(wanted, least, low, high):
    """Positions near the wanted ones (any order), at least `least` apart, within [low, high]."""
    if not len(wanted):
        return []
    order = np.argsort(wanted, kind="stable")
    groups = []  # [sum of wanted positions, members]; a group lies around its mean
    for k in order:
        groups.append([[k], float(wanted[k])])
        while len(groups) > 1:
            (a, ca), (b, cb) = groups[-2:]
            if cb - ca >= least * (len(a) + len(b)) / 2:
                break
            groups[-2:] = [[a + b, (ca * len(a) + cb * len(b)) / (len(a) + len(b))]]
    at = np.zeros(len(wanted))
    for members, centre in groups:
        half = least * (len(members) - 1) / 2
        centre = min(max(centre, low + half), max(high - half, low + half))
        for i, k in enumerate(members):
            at[k] = centre - half + i * least
    return at


def _name_lines(figure, ends):
    """Name lines where they end, pushed apart where names would overlap.

    ends: [(axes, [(x, y, name, colour)])]; a fifth element that is true puts the name left of the
    point, within the axes.  Invisible texts of the names' lengths first make the layout leave room.
    """
    room = [ax.text(1.0, 0.5, "     " + e[2], transform=ax.transAxes, fontsize=7, alpha=0)
            for ax, mine in ends for e in mine if len(e) == 4]
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for text in room:
        text.remove()
    for ax, mine in ends:
        for left in (False, True):
            _name_side(ax, [e for e in mine if (len(e) > 4) == left], left)


def _name_side(ax, names, left):
    to_axes = ax.transAxes.inverted()
    spots = [to_axes.transform(ax.transData.transform((e[0], e[1]))) for e in names]
    height = ax.get_window_extent().height * 72 / ax.figure.dpi
    at = _spread([s[1] for s in spots], 9.2 / height, 0.03, 1.0)
    for (x, y), y_label, e in zip(spots, at, names):
        ax.annotate(e[2] + " " if left else " " + e[2], (x, y), (x - 0.035 if left else 1.02, y_label),
                    xycoords="axes fraction", textcoords="axes fraction", fontsize=7, color=e[3],
                    ha="right" if left else "left", va="center", annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "color": e[3], "lw": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3})


class Styles:
    """One colour and marker per arm, in the order of the config; ink and a cross for the teacher.
    shown: the arms of every panel, where known: arms that share no panel can then share a colour, as
    those of a config with arms of its own for every family do."""

    def __init__(self, arms, shown=()):
        self.place = {arm: k for k, arm in enumerate(arms)}
        near = {}
        for panel in shown:
            for k, arm in enumerate(a for a in arms if a in panel):
                near.setdefault(arm, k)
        if shown and not any(len({near[a] for a in set(p) & near.keys()}) < len(set(p) & near.keys()) for p in shown):
            self.place.update(near)

    def of(self, arm):
        if arm == TEACHER and arm not in self.place:
            return {"color": INK, "marker": "X"}
        k = self.place.get(arm, 0)
        return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}


def test_sets(results):
    """(family, set) with results of an arm, in the order of the report."""
    return list(dict.fromkeys((f, s) for f, s, a in zip(results["family"], results["set"], results["arm"])
                              if a != "trivial"))


def _lines_of(results, family, name):
    """Per (arm, method): the results of a test set, ascending in n."""
    r = where(results, family=family, set=name, parse="tolerant")
    for arm in dict.fromkeys(r["arm"]):
        for method in dict.fromkeys(where(r, arm=arm)["method"]):
            line = where(r, arm=arm, method=method)
            order = np.argsort(line["n"].astype(float), kind="stable")
            yield arm, method, {k: v[order] for k, v in line.items()}


# ---------------------------------------------------------------- accuracy

def accuracy_dots(results, arms):
    """Every arm and method at its largest n, and the best trivial baseline, with intervals."""
    sets, styles, panels = test_sets(results), Styles(arms), []
    for family, name in sets:
        lines, trivial = [], None
        for arm, method, line in _lines_of(results, family, name):
            last = {k: v[-1] for k, v in line.items()}
            if arm == "trivial":
                trivial = last if trivial is None or last["accuracy"] > trivial["accuracy"] else trivial
            else:
                lines.append(last)
        panels.append(([trivial] if trivial else []) + sorted(lines, key=lambda x: x["accuracy"]))
    if not any(panels):
        return None
    most = max(len(p) for p in panels)
    figure, axes = _grid_of(len(sets), 0.55 + 0.2 * most)
    for ax, (family, name), lines in zip(axes, sets, panels):
        for y, r in enumerate(lines):
            trivial = r["arm"] == "trivial"
            style = {"color": QUIET, "marker": "o"} if trivial else styles.of(r["arm"])
            hollow = r["method"] in ("search_interpreter", "random_rules", "follow_true_rule") or trivial
            ax.plot([100 * r["low"], 100 * r["high"]], [y, y], color=style["color"], lw=1.4, solid_capstyle="butt")
            ax.plot(100 * r["accuracy"], y, marker=style["marker"], color=style["color"], ls="none",
                    mfc="white" if hollow else style["color"], mew=1.2)
        names = [f"best trivial: {r['method']}" if r["arm"] == "trivial" else
                 f"{r['arm']}, {METHOD_TITLES.get(r['method'], r['method'])}" + (f", {int(r['n'])}" if r["n"] else "")
                 for r in lines]
        ax.set_yticks(range(len(lines)), names)
        ax.set_ylim(-0.7, most - 0.3)
        top = max((100 * r["high"] for r in lines), default=1)
        ax.set_xlim(-0.03 * top, 1.04 * top)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        _percent(ax.xaxis)
        ax.set_xlabel("right answers")
        ax.set_title(title(family, name))
    return figure


def _curves(results, arms, x, methods, xlabel, counts, apart=()):
    """apart: arms that are left out."""
    sets, styles = test_sets(results), Styles(arms)
    if not sets:
        return None
    figure, axes = _grid_of(len(sets), 2.7)
    drawn, ends = False, []
    for ax, (family, name) in zip(axes, sets):
        mine, ticks = [], set()
        for arm, method, line in _lines_of(results, family, name):
            if arm == "trivial" or arm in apart or method not in methods or not (np.asarray(line[x], float) > 0).any():
                continue
            style, at, y = styles.of(arm), line[x].astype(float), 100 * line["accuracy"].astype(float)
            at = np.maximum(at, 1e-9)
            hollow = method != "search"
            ax.vlines(at, 100 * line["low"].astype(float), 100 * line["high"].astype(float), color=style["color"],
                      lw=0.8, alpha=0.55)
            ax.plot(at, y, ls=LINES.get(method, "-") if len(at) > 1 else "none", marker=style["marker"],
                    color=style["color"], mfc="white" if hollow else style["color"], mew=1.1)
            alone = (True,) if len(at) == 1 and not counts else ()
            mine.append((at[-1], y[-1], f"{arm}, {METHOD_TITLES.get(method, method)}", style["color"], *alone))
            ticks |= set(at)
            drawn = True
        _log_x(ax, ticks if counts else ())
        if any(len(e) > 4 for e in mine):  # room for their names
            low, high = ax.get_xlim()
            ax.set_xlim(low * (low / high) ** 0.65, high)
        _from_zero(ax)
        _percent(ax.yaxis)
        ax.set_xlabel(xlabel)
        ax.set_title(f"{title(family, name)}: right answers")
        ends.append((ax, mine))
    if not drawn:
        plt.close(figure)
        return None
    _name_lines(figure, ends)
    return figure


def accuracy_by_rules(results, arms):
    return _curves(results, arms, "n", ("search", "search_interpreter", "random_rules"),
                   "rules proposed per problem", True)


def accuracy_by_tokens(results, arms):
    return _curves(results, arms, "tokens_per_query", ("io", "search", "vote"), "tokens per query (prompts and answers)",
                   False, (TEACHER,))  # whose tokens are others


def by_seed(panels, arms):
    """panels: [(title, lines of summary.py)]: right answers against tokens per query, every run thin and
    their mean thick; what costs a student nothing is a level line.  Arms that search are not shown
    answering directly."""
    names = {"search": "{}", "search_interpreter": "{} + interpreter", "vote": "{}, votes", "io": "{}",
             "random_rules": "random rules + interpreter"}
    styles = Styles(arms, [{x["arm"] for x in lines} for _, lines in panels])
    figure, axes = _grid_of(len(panels), 3.0)
    ends = []
    for ax, (name, lines) in zip(axes, panels):
        mine, levels_ = [], []
        searching = list(dict.fromkeys(x["arm"] for x in lines if x["method"] == "search" and x["arm"] != TEACHER))
        keys = dict.fromkeys((x["arm"], x["method"]) for x in lines if x["arm"] != TEACHER)
        for arm, method in keys:
            of = sorted((x for x in lines if (x["arm"], x["method"]) == (arm, method)), key=lambda x: x["n"])
            if arm == "trivial" or method == "random_rules":
                text = "best trivial rule" if arm == "trivial" else names[method]
                levels_.append((100 * of[-1]["accuracy"].mean(), text, QUIET if arm == "trivial" else styles.of(arm)["color"]))
                continue
            if method not in names or (method in ("io", "vote") and arm in searching):
                continue
            text = names[method].format(arm)
            x, y = (np.array([line[c] for line in of]) for c in ("tokens", "accuracy"))  # [n, run]
            style, hollow = styles.of(arm), method != "search"
            ls = LINES[method] if len(of) > 1 else "none"
            for k in range(x.shape[1]):
                ax.plot(x[:, k], 100 * y[:, k], ls=ls, lw=0.6, alpha=0.5, color=style["color"],
                        marker=None if len(of) > 1 else style["marker"], ms=2.5)
            ax.plot(x.mean(1), 100 * y.mean(1), ls=ls, lw=1.8, marker=style["marker"], color=style["color"],
                    mfc="white" if hollow else style["color"], mew=1.1)
            if method == "search" and arm == searching[0]:
                for n, a, b in zip([line["n"] for line in of], x.mean(1), 100 * y.mean(1)):
                    ax.annotate(f"{n}", (a, b), (-4, 5), textcoords="offset points", fontsize=6, color=style["color"])
            mine.append((x.mean(1)[-1], 100 * y.mean(1)[-1], text, style["color"]))
        _log_x(ax)
        for y, text, colour in levels_:
            ax.axhline(y, color=colour, lw=1.0, ls=(0, (1, 1.5)))
            mine.append((ax.get_xlim()[1], y, text, colour))
        _from_zero(ax)
        _percent(ax.yaxis)
        ax.set_xlabel("tokens per query")
        ax.set_title(f"{name}: right answers")
        ends.append((ax, mine))
    _name_lines(figure, ends)
    return figure


# ---------------------------------------------------------------- training

def _smooth(x, y):
    """Means over 15 to 60 stretches of at least 8 points; all points when there are too few to need it."""
    if len(x) < 120:
        return x, y
    parts = np.array_split(np.arange(len(x)), min(60, max(15, len(x) // 20)))
    return np.array([x[p].mean() for p in parts]), np.array([np.nanmean(y[p]) for p in parts])


def training_curves(metrics, arms):
    """metrics: {arm: {table: {column: array}}}.  Loss of SFT, loss and accuracy of alignment."""
    styles = Styles(arms)
    wanted = [("sft", "loss", "SFT: loss (nats per response token)", 1.0),
              ("align", "loss", "Alignment: loss (nats)", 1.0),
              ("align", "accuracy", "Alignment: chosen rule is the likelier", 100.0),
              ("align", "margin", "Alignment: mean log odds ratio (nats)", 1.0)]
    there = [w for w in wanted if any(w[1] in m.get(w[0], {}) and len(m[w[0]][w[1]]) > 1 for m in metrics.values())]
    if not there:
        return None
    figure, axes = _grid_of(len(there), 2.4)
    ends = []
    for ax, (table, column, name, scale) in zip(axes, there):
        mine = []
        for arm, m in metrics.items():
            if column not in m.get(table, {}) or len(m[table][column]) < 2:
                continue
            x, y = m[table]["tokens"] / 1e6, scale * m[table][column]
            style = styles.of(arm)
            sx, sy = _smooth(x, y)
            if len(sx) < len(x):
                ax.plot(x, y, color=style["color"], lw=0.4, alpha=0.28)
            ax.plot(sx, sy, color=style["color"], marker=style["marker"], markevery=max(1, len(sx) // 6), ms=3.5)
            mine.append((sx[-1], sy[-1], arm, style["color"]))
        if table == "sft":
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        if scale == 100:
            _percent(ax.yaxis)
        ax.set_xlabel("tokens trained on, millions")
        ax.set_xlim(left=0)
        ax.set_title(name)
        ends.append((ax, mine))
    _name_lines(figure, ends)
    return figure


def speed(metrics, arms):
    """Tokens per second while training, stage by stage."""
    styles = Styles(arms)
    there = [t for t in ("sft_speed", "align_speed")
             if any(len(m.get(t, {}).get("step", ())) > 1 for m in metrics.values())]
    if not there:
        return None
    figure, axes = _grid_of(len(there), 2.2)
    ends = []
    for ax, table in zip(axes, there):
        mine = []
        for arm, m in metrics.items():
            if len(m.get(table, {}).get("step", ())) < 2:
                continue
            style, x, y = styles.of(arm), m[table]["step"], m[table]["tokens_per_second"]
            ax.plot(x, y, color=style["color"], marker=style["marker"], ms=3, markevery=max(1, len(x) // 12), lw=1.1)
            mine.append((x[-1], y[-1], arm, style["color"]))
        ax.set_ylim(0, 1.12 * ax.dataLim.ymax)
        ax.set_xlim(left=0)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _thousands(v)))
        ax.set_xlabel("step")
        ax.set_title({"sft_speed": "SFT: tokens per second", "align_speed": "Alignment: tokens per second"}[table])
        ends.append((ax, mine))
    _name_lines(figure, ends)
    return figure


def timing(rows, seconds):
    """The timing table of report.json: seconds of each section, and those of them in communication."""
    rows = [r for r in rows if r["avg"] >= 0.004 * seconds]
    if not rows:
        return None
    figure, ax = plt.subplots(figsize=(WIDTH, 0.6 + 0.19 * len(rows)), constrained_layout=True)
    for k, r in enumerate(rows):
        part = any(c in r["section"] for c in ".:")
        ax.barh(k, r["avg"], height=0.62, color=SKY if part else BLUE, lw=0)
        ax.barh(k, r["in_communication"], height=0.62, color=ORANGE, lw=0)
        ax.text(r["avg"], k, f"  {r['avg']:.3g} s" + (f", {r['in_communication']:.2g} s of it in communication"
                if r["in_communication"] >= 0.01 * r["avg"] and r["in_communication"] >= 0.01 else ""),
                va="center", fontsize=7, color=INK)
    ax.set_yticks(range(len(rows)), [("    " if any(c in r["section"] for c in ".:") else "") + r["section"] for r in rows])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(0, 1.25 * max(r["avg"] for r in rows))
    ax.set_xlabel("seconds, mean over ranks")
    return figure


# ---------------------------------------------------------------- the teacher's rules

def score_bars(rules):
    """Per family: on how many demonstrations the teacher's rules are right."""
    families = list(dict.fromkeys(rules["family"])) if rules else []
    if not families:
        return None
    figure, axes = _grid_of(len(families), 1.9, columns=len(families) if len(families) < 5 else 4)
    for ax, family in zip(axes, families):
        r = where(rules, family=family)
        most = int(r["score"].max()) if len(r["score"]) else 0
        share = 100 * np.bincount(r["score"], minlength=most + 1) / max(1, len(r["score"]))
        ax.bar(range(most + 1), share, width=0.78, color=[SKY] * most + [BLUE], lw=0)
        for x, s in enumerate(share):
            ax.text(x, s, f"{s:.0f}", ha="center", va="bottom", fontsize=7, color=INK)
        ax.set_xticks(range(0, most + 1, 1 if most < 12 else 2))
        ax.grid(axis="x", visible=False)
        ax.set_ylim(0, 1.14 * share.max())
        _percent(ax.yaxis)
        ax.set_xlabel("demonstrations it is right on")
        ax.set_title(f"{title(family)}: share of rules")
    return figure


def length_quality(rules, correlation):
    """Mean share of demonstrations a rule is right on, by its words."""
    families = list(dict.fromkeys(rules["family"])) if rules else []
    if not families:
        return None
    figure, ax = plt.subplots(figsize=(WIDTH, 2.7), constrained_layout=True)
    names = []
    for k, family in enumerate(families):
        r = where(rules, family=family)
        edges = np.unique(np.quantile(r["words"], np.linspace(0, 1, 11)))
        bin_ = np.clip(np.searchsorted(edges, r["words"], side="right") - 1, 0, max(0, len(edges) - 2))
        x, y, half = [], [], []
        for b in np.unique(bin_):
            share = r["share"][bin_ == b]
            x.append(r["words"][bin_ == b].mean())
            y.append(100 * share.mean())
            half.append(196 * share.std() / np.sqrt(len(share)))
        ax.errorbar(x, y, half, color=COLOURS[k], marker=MARKERS[k], lw=1.4, elinewidth=0.8)
        r_text = f"{correlation.get(family, float('nan')):+.2f}".replace("-", "−")
        names.append((x[-1], y[-1], f"{title(family)}, r = {r_text}", COLOURS[k]))
    for (x, _, text, colour), y in zip(names, _spread([n[1] for n in names], 7, 3, 100)):
        ax.annotate(text, (x, y), (7, 0), textcoords="offset points", fontsize=7, color=colour, va="center")
    ax.set_ylim(0, 104)
    _percent(ax.yaxis)
    ax.set_xlim(0, 1.28 * max(n[0] for n in names))  # room for the names
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("words of the rule (means of tenths of the rules)")
    ax.set_title("Demonstrations a rule is right on, mean share")
    return figure


# ---------------------------------------------------------------- sweeps

def forest(lines, columns):
    """lines: [(name, [Estimate or None per column])], the best first; columns: titles.  Differences."""
    lines = list(lines)[::-1]
    if not lines:
        return None
    figure, axes = plt.subplots(1, len(columns), figsize=(WIDTH, 0.75 + 0.24 * len(lines)), sharey=True, squeeze=False,
                                constrained_layout=True)
    ends = [v for _, es in lines for e in es if e is not None for v in (100 * e.low, 100 * e.high, 0)]
    margin = 0.04 * (max(ends) - min(ends)) or 1
    for k, (ax, name) in enumerate(zip(axes[0], columns)):
        ax.set_xlim(min(ends) - margin, max(ends) + margin)
        ax.xaxis.set_major_locator(MaxNLocator(5 if len(columns) < 3 else 4, steps=[1, 2, 2.5, 5, 10]))
        ax.axvline(0, color=QUIET, lw=0.9)
        for y, (_, estimates) in enumerate(lines):
            e = estimates[k]
            if e is None:
                continue
            colour = QUIET if not e.apart else VERMILLION if e.high < 0 else BLUE
            ax.plot([100 * e.low, 100 * e.high], [y, y], color=colour, lw=2.2 if k == 0 else 1.5, solid_capstyle="butt")
            ax.plot(100 * e.value, y, color=colour, marker="s" if k == 0 else "o", ms=5 if k == 0 else 4,
                    mfc=colour if e.apart else "white", mew=1.2)
        ax.set_ylim(-0.7, len(lines) - 0.3)
        ax.set_yticks(range(len(lines)), [n for n, _ in lines])
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g}".replace("-", "−") if v else "0"))
        ax.set_xlabel("points")
        ax.set_title(name)
    return figure


def levels(panels):
    """panels: [(axis, [(label, {column: Estimate})])]: accuracy by the label of an axis."""
    panels = [p for p in panels if len(p[1]) > 1]
    if not panels:
        return None
    figure, axes = _grid_of(len(panels), 2.5)
    ends = []
    for ax, (axis, points) in zip(axes, panels):
        labels = [label for label, _ in points]
        at, numeric = _positions(labels)
        mine = []
        columns = list(dict.fromkeys(c for _, e in points for c in e))
        for k, column in enumerate(columns):
            aside = 0 if numeric else 0.16 * (k - (len(columns) - 1) / 2)
            have = [(x + aside, e[column]) for x, (_, e) in zip(at, points) if e.get(column) is not None]
            x = np.array([h[0] for h in have], float)
            value, low, high = (100 * np.array([getattr(h[1], n) for h in have]) for n in ("value", "low", "high"))
            ax.vlines(x, np.maximum(low, 0), np.minimum(high, 100), color=COLOURS[k], lw=0.9, alpha=0.6)
            ax.plot(x, value, color=COLOURS[k], marker=MARKERS[k], ls="-" if numeric else "none")
            mine.append((x[-1], value[-1], column, COLOURS[k]))
        if numeric and min(at) > 0 and max(at) / min(at) >= 8:
            ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticks(at, labels, rotation=0 if numeric or sum(map(len, labels)) < 45 else 30,
                      ha="center" if numeric or sum(map(len, labels)) < 45 else "right")
        if not numeric:
            ax.set_xlim(-0.5, len(at) - 0.5)
        _from_zero(ax)
        _percent(ax.yaxis)
        ax.set_xlabel(axis)
        ax.set_title(f"Right answers by {axis}")
        ends.append((ax, mine))
    _name_lines(figure, ends)
    return figure


def above_teacher(panels, axis, labels):
    """panels: [(title, [(name, kind, [Estimate or None per label])])]: students and their teacher over a
    numeric axis.  kind: ("teacher" or "first_guess", 0), or ("search" or "search_interpreter", number of
    the arm)."""
    panels = [p for p in panels if p[1]]
    at, numeric = _positions(labels)
    if not panels or not numeric or len(labels) < 2:
        return None
    order = np.argsort(at, kind="stable")
    place = np.empty(len(at))
    place[order] = np.arange(len(at))  # values such as 0, 0.02, 0.6 are evenly spaced
    figure, axes = _grid_of(len(panels), 2.9)
    ends = []
    for ax, (name, lines) in zip(axes, panels):
        mine = []
        for k, (text, (method, arm), estimates) in enumerate(lines):
            have = sorted((place[i], e) for i, e in enumerate(estimates) if e is not None)
            if not have:
                continue
            x = np.array([h[0] for h in have]) + 0.05 * (k - (len(lines) - 1) / 2)  # so that none hides another
            value, low, high = (100 * np.array([getattr(h[1], n) for h in have]) for n in ("value", "low", "high"))
            teacher = method in ("teacher", "first_guess")
            thin = method in ("search_interpreter", "first_guess")
            style = {"color": INK, "marker": "X", "ls": (0, (4, 1.2, 1, 1.2)), "lw": 0.9 if thin else 1.8, "ms": 5.5} if teacher \
                else {"color": COLOURS[arm % len(COLOURS)], "marker": MARKERS[arm % len(MARKERS)], "ls": LINES[method],
                      "lw": 0.9 if thin else 1.8}
            ax.vlines(x, np.maximum(low, 0), np.minimum(high, 100), color=style["color"], lw=0.9, alpha=0.6)
            ax.plot(x, value, mfc="white" if thin else style["color"], **style)
            mine.append((x[-1], value[-1], text, style["color"]))
        ax.set_xticks(range(len(at)), [labels[i] for i in order])
        ax.set_xlim(-0.4, len(at) - 0.6)
        _from_zero(ax)
        _percent(ax.yaxis)
        ax.set_xlabel(axis)
        ax.set_title(f"{name}: right answers")
        ends.append((ax, mine))
    _name_lines(figure, ends)
    return figure


def rules_by_label(panels):
    """panels: [(title, [(label, n, mean, low, high)])], arrays: accuracy against the number of rules."""
    panels = [p for p in panels if any(len(line[1]) > 1 for line in p[1])]
    if not panels:
        return None
    figure, axes = _grid_of(len(panels), 2.7)
    ends = []
    for ax, (name, lines) in zip(axes, panels):
        mine, ticks = [], set()
        for k, (label, n, mean, low, high) in enumerate(lines):
            colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
            again = k // len(COLOURS)
            shift = 1 + 0.02 * (k - (len(lines) - 1) / 2)  # so that ranges do not hide each other
            ax.vlines(n * shift, 100 * low, 100 * high, color=colour, lw=0.8, alpha=0.6)
            ax.plot(n * shift, 100 * mean, color=colour, marker=marker, ls=("-", (0, (5, 2)), (0, (1, 1.5)))[again % 3],
                    mfc="white" if again else colour)
            mine.append((n[-1] * shift, 100 * mean[-1], label, colour))
            ticks |= set(n.tolist())
        _log_x(ax, ticks)
        _from_zero(ax)
        _percent(ax.yaxis)
        ax.set_xlabel("rules proposed per problem")
        ax.set_title(f"{name}: right answers")
        ends.append((ax, mine))
    _name_lines(figure, ends)
    return figure


def _positions(labels):
    try:
        at = [float(label) for label in labels]
        if len(set(at)) == len(at):
            return at, True
    except ValueError:
        pass
    return list(range(len(labels))), False


def member_times(panels):
    """panels: [(axis, [(label, [seconds])])]: how long members took."""
    panels = [p for p in panels if len(p[1]) > 1 and any(s for _, s in p[1])]
    if not panels:
        return None
    figure, axes = _grid_of(len(panels), 0.6 + 0.22 * max(len(p[1]) for p in panels))
    for ax, (axis, points) in zip(axes, panels):
        for y, (_, seconds) in enumerate(points):
            if not seconds:
                continue
            ax.plot(seconds, [y] * len(seconds), ls="none", marker="o", ms=3.5, color=SKY, mec="none", alpha=0.9)
            ax.plot(np.median(seconds), y, marker="|", ms=11, mew=1.8, color=BLUE)
        ax.set_yticks(range(len(points)), [label for label, _ in points])
        ax.set_ylim(len(points) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        ax.set_xlim(left=0)
        ax.set_xlabel("seconds of a member")
        ax.set_title(f"by {axis}")
    return figure
