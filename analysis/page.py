"""The report page: one HTML file that needs nothing else, and the tables beside it."""
import html
import math
import os

import numpy as np

from . import plots, stats, tables
from .plots import METHOD_TITLES, title
from .runs import TEACHER, rows, where

STYLE = """
:root { --ink: #222; --quiet: #6b6b6b; --line: #d9d9d9; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 52rem; color: var(--ink); background: #fff;
  font: 16px/1.5 Charter, "Bitstream Charter", "Iowan Old Style", Georgia, "DejaVu Serif", serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .2rem; font-weight: 600; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; font-weight: 600; }
h2.first { margin-top: 1.8rem; }
p, li { max-width: 44rem; }
.by { color: var(--quiet); margin: 0 0 1rem; }
.answer { border-left: 3px solid #0072B2; padding: .1rem 0 .1rem 1rem; margin: 1rem 0 1.4rem; }
.answer p { margin: .55rem 0; } .answer p, .answer li { max-width: none; }
.answer b { font-weight: 600; }
.answer ul { margin: .2rem 0 .9rem; padding-left: 1.2rem; } .answer li { margin: .15rem 0; }
figure { margin: 1.4rem 0 1.8rem; break-inside: avoid; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { color: var(--quiet); font-size: .86rem; line-height: 1.45; margin-top: .5rem; max-width: 46rem; }
table { border-collapse: collapse; font-size: .84rem; margin: .6rem 0 1.4rem; font-variant-numeric: tabular-nums lining-nums; }
caption { text-align: left; color: var(--quiet); padding-bottom: .4rem; }
th { text-align: left; font-weight: 600; border-bottom: 1px solid var(--ink); padding: .2rem .9rem .25rem 0; vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: .16rem .9rem .16rem 0; vertical-align: top; }
td.n, th.n { text-align: right; }
tr.group td { border-bottom: 1px solid #999; padding-top: .7rem; font-weight: 600; }
.missing { border-left: 3px solid #D55E00; padding: .1rem 0 .1rem 1rem; }
details summary { cursor: pointer; color: var(--quiet); }
@media print { body { font-size: 10.5pt; max-width: none; padding: 0; } h2 { break-after: avoid; } tr { break-inside: avoid; }
  .wide { font-size: .74rem; } @page { margin: 18mm 16mm; } }
"""


def _esc(text):
    return html.escape(str(text))


def percent(x, digits=1):
    return f"{100 * x:.{digits}f} %"


def points(x):
    text = f"{100 * x:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def interval(e):
    """An Estimate of a difference, in words."""
    if e.value == e.low == e.high == 0:
        return f"as many right on every one of {e.problems} problems"
    return f"{points(e.value)} points ({points(e.low)} to {points(e.high)})"


class Page:
    """Collects parts; write makes the file."""

    def __init__(self, heading, by):
        self.heading, self.parts, self.figures = heading, [f"<h1>{_esc(heading)}</h1>", f'<p class="by">{_esc(by)}</p>'], 0

    def section(self, text, first=False):
        self.parts.append(f'<h2{" class=first" if first else ""}>{_esc(text)}</h2>')

    def text(self, markup):
        self.parts.append(f"<p>{markup}</p>")

    def answer(self, markup):
        self.parts.append(f'<div class="answer">{markup}</div>')

    def figure(self, figure, caption):
        """A figure with its caption; nothing for None.  True if there was one."""
        if figure is None:
            return False
        self.figures += 1
        picture = plots.svg(figure, f"f{self.figures}")
        picture = picture.replace("<svg", f'<svg role="img" aria-label="{_esc(caption)}"', 1)
        self.parts.append(f"<figure>{picture}<figcaption><b>Figure {self.figures}.</b> {_esc(caption)}</figcaption></figure>")
        return True

    def table(self, header, lines, numbers=(), caption=None, fold=None):
        """lines: cells, or a single text for a row that names a group."""
        def cell(tag, i, text):
            return f'<{tag}{" class=n" if i in numbers else ""}>{_esc(text)}</{tag}>'
        out = ["<table class=wide>"] + ([f"<caption>{_esc(caption)}</caption>"] if caption else [])
        out.append("<thead><tr>" + "".join(cell("th", i, h) for i, h in enumerate(header)) + "</tr></thead><tbody>")
        for line in lines:
            if isinstance(line, str):
                out.append(f'<tr class="group"><td colspan="{len(header)}">{_esc(line)}</td></tr>')
            else:
                out.append("<tr>" + "".join(cell("td", i, c) for i, c in enumerate(line)) + "</tr>")
        out.append("</tbody></table>")
        if fold:
            out = [f"<details open><summary>{_esc(fold)}</summary>", *out, "</details>"]
        self.parts.append("".join(out))

    def missing(self, texts):
        if texts:
            self.section("What is missing")
            self.parts.append('<div class="missing"><ul>' + "".join(f"<li>{_esc(t)}</li>" for t in texts) + "</ul></div>")

    def write(self, path):
        text = (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
                f'content="width=device-width"><title>{_esc(self.heading)}</title><style>{STYLE}</style></head>\n<body>\n'
                + "\n".join(self.parts) + "\n</body></html>\n")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


# ---------------------------------------------------------------- a run

def _called(r, results):
    """An arm's method at an n, in words."""
    n = int(r["n"])
    if r["method"] == "search":
        how = f"search among {n} rules" if n != 1 else "its first rule"
    elif r["method"] == "vote":  # n is search's whose tokens it spends, or simply how many votes
        searches = "search" in where(results, arm=r["arm"])["method"]
        how = f"votes at the price of search among {n}" if searches else f"{n} votes" if n != 1 else "one vote"
    else:
        how = {"io": "direct answers"}.get(r["method"], METHOD_TITLES.get(r["method"], r["method"]))
    return f"{r['arm']} with {how}"


def _contest(results, family, name):
    """What may win a test set: every arm's direct answers, votes and search, each at its largest n."""
    r = where(results, family=family, set=name, parse="tolerant", method=["io", "vote", "search"])
    out = {}
    for line in rows(r):
        key = line["arm"], line["method"]
        if line["arm"] not in ("trivial", TEACHER) and (key not in out or line["n"] > out[key]["n"]):
            out[key] = line
    return sorted(out.values(), key=lambda x: -x["accuracy"])


def _paired(run, family, name, a, b):
    """The difference of two lines on the same problems, or None without predictions."""
    sides = [where(run.problems(r["arm"], r["method"], int(r["n"])), family=family, set=name) for r in (a, b)]
    if not len(sides[0]["id"]) or any(list(sides[0][c]) != list(sides[1][c]) for c in ("source", "id")):
        return None
    return stats.bootstrap(*([(s["right"], s["total"])] for s in sides), crossed=True,
                           purpose=(family, name, *((r["arm"], r["method"], int(r["n"])) for r in (a, b))))


def _teacher_line(run, family, name):
    """What the teacher itself does on a test set, searching among the most rules; None without it."""
    if TEACHER in run.arms:
        return None
    r = rows(where(run.results, family=family, set=name, parse="tolerant", arm=TEACHER, method="search"))
    return max(r, key=lambda x: x["n"], default=None)


def _against(run, family, name, best, rival):
    """How the best line stands to another, in words."""
    apart, e = best["low"] > rival["high"], None
    if rival["arm"] != "trivial":
        e = _paired(run, family, name, best, rival)
    text = (f"against the best trivial rule, {_esc(rival['method'])}" if rival["arm"] == "trivial" else
            f"against {'its ' * (rival['arm'] == TEACHER)}{_esc(_called(rival, run.results))}")
    text += f", {percent(rival['accuracy'])}: {'intervals apart' if apart else 'intervals overlap'}"
    if e is None:
        return text
    clear = "" if apart == e.apart else ", which is clear" if e.apart else ", which is not clear"
    return f"{text}; on the same problems {interval(e)}{clear}"


def run_answer(run):
    """Per test set: what is best, and is it apart from the best other method, the best other arm and the
    best trivial rule, and from the teacher where it was asked?  As markup."""
    out = []
    for family, name in plots.test_sets(run.results):
        contest = _contest(run.results, family, name)
        if not contest:
            continue
        best = contest[0]
        trivial = rows(where(run.results, family=family, set=name, parse="tolerant", arm="trivial"))
        rivals = [next((r for r in contest[1:] if r["method"] != best["method"]), None),
                  next((r for r in contest[1:] if r["arm"] != best["arm"]), None),
                  max(trivial, key=lambda r: r["accuracy"], default=None)]
        if rivals[1] is rivals[0]:
            rivals[1] = None
        rivals.append(_teacher_line(run, family, name))
        out.append(f"<p><b>{_esc(title(family, name))}.</b> Best is <b>{_esc(_called(best, run.results))}</b>: "
                   f"{percent(best['accuracy'])} of {best['queries']} queries right, 95 % interval {100 * best['low']:.1f} to "
                   f"{percent(best['high'])}.</p><ul>"
                   + "".join(f"<li>{_against(run, family, name, best, r)}</li>" for r in rivals if r is not None) + "</ul>")
    return "".join(out)


def _result_lines(results):
    lines, raw = [], []
    for family, name in plots.test_sets(results):
        r = where(results, family=family, set=name, parse="tolerant")
        strict = {(x["arm"], x["method"], x["n"]): x["accuracy"]
                  for x in rows(where(results, family=family, set=name, parse="strict"))}
        mine = [x for x in rows(r) if x["arm"] != "trivial"] + [x for x in rows(r) if x["arm"] == "trivial"]
        lines.append(f"{title(family, name)}: {mine[0]['problems']} problems, {mine[0]['queries']} queries")
        for x in mine:
            lines.append((x["arm"], METHOD_TITLES.get(x["method"], x["method"]), x["n"] or "", f"{100 * x['accuracy']:.1f}",
                          f"{100 * x['low']:.1f} – {100 * x['high']:.1f}",
                          f"{100 * strict.get((x['arm'], x['method'], x['n']), math.nan):.1f}",
                          f"{100 * x['solved']:.1f}", f"{x['tokens_per_query']:,.0f}"))
            raw.append(x)
    return lines, raw


RESULT_HEADER = ("arm", "method", "N", "right %", "95 % interval", "strict %", "solved %", "tokens/query")


def _metrics(run):
    out = {}
    for arm in run.arms:
        if not {"sft", "align"} & set(run.stages(arm)):
            continue
        f = run.metrics(arm)
        if f is not None:
            out[arm] = {t: f.table(t) for t in f.tables}
    return out


def _write_results(run, folder):
    lines, raw = _result_lines(run.results)
    header = tuple(run.results)
    shown, group = [], ""
    for x in lines:
        if isinstance(x, str):
            group = x.split(":")[0]
        else:
            shown.append((group, *x))
    tables.write_both(folder, "results", (header, ("family", *RESULT_HEADER)),
                      [[x[h] for h in header] for x in rows(run.results)], shown,
                      f"{run.name}: right answers, tolerant reading, intervals clustered by problem.", range(3, 9))
    return lines


def run_page(run, folder):
    """report.html of a run and its tables in a folder.  Returns the path of the page."""
    os.makedirs(folder, exist_ok=True)
    m = run.manifest
    run.look()
    page = Page(f"Run {run.name}", f"{m.get('software', 'redistill')}, {m.get('date', 'without a date')}, "
                f"{m.get('ranks', '?')} ranks of {m.get('threads', '?')} threads, seed "
                f"{run.config.get('run', {}).get('seed', '?')}")
    r = run.results
    page.section("The answer", first=True)
    if len(r["arm"]):
        page.answer(run_answer(run))
        page.figure(plots.accuracy_dots(r, run.arms), "Every arm and method at its largest number of rules, best at the top, "
                    "with 95 % intervals clustered by problem. Filled: what a student does by itself. Hollow: controls that the "
                    "exact interpreter helps, and the best trivial rule (grey).")
        page.section("What more rules and more tokens bring")
        page.figure(plots.accuracy_by_rules(r, run.arms), "Right answers against the number of rules proposed. Solid: the student "
                    "checks and applies its rules itself. Dashed: the exact interpreter does both. Dotted: as many random rules "
                    "of the training set. Vertical lines are 95 % intervals.")
        page.figure(plots.accuracy_by_tokens(r, run.arms), "Right answers against the tokens spent on a query, prompts included. "
                    "Filled markers: search, along its numbers of rules. Hollow markers: direct answers (single) and votes (joined).")
    else:
        page.answer("<p>There are no results yet.</p>")
    metrics = _metrics(run)
    if metrics:
        page.section("Training")
        page.figure(plots.training_curves(metrics, run.arms), "Training as it went. Thin: every step; thick: means over stretches of "
                    "it. Losses of arms that learn different rows are not comparable with each other.")
    rules = run.rules
    if rules:
        page.section("The teacher's rules")
        correlation = {f: stats.pearson(where(rules, family=f)["words"], where(rules, family=f)["share"])
                       for f in dict.fromkeys(rules["family"])}
        page.figure(plots.score_bars(rules), "How good the proposed rules are: the share that is right on so many demonstrations "
                    "of its task (per cent above the bars). Dark: right on all.")
        page.figure(plots.length_quality(rules, correlation), "Are longer rules worse? Mean share of demonstrations a rule is right "
                    "on, by the words it has, with 95 % intervals; r is Pearson's over single rules.")
    page.section("Time")
    if run.report.get("timing"):
        page.figure(plots.timing(run.report["timing"], run.report.get("seconds", 0) or 1), "Where the time of the job that wrote the "
                    "report went. Dark: stages; light: their parts; orange: in communication. Sections below 0.4 % are left out.")
    page.figure(plots.speed(metrics, run.arms), "Speed while training, over the seconds between two looks at the clock.")
    if len(r["arm"]):
        page.section("All results")
        page.table(RESULT_HEADER, _write_results(run, folder), range(2, 8),
                   "Share of right queries in a tolerant reading with its interval; in the strict reading; share of problems with "
                   "every query right; tokens. Also in results.csv and results.tex.")
    for w in run.report.get("warnings", []):
        run.missing.append(f"warning of the run: {w}")
    page.missing(run.missing)
    path = os.path.join(folder, "report.html")
    page.write(path)
    return path


# ---------------------------------------------------------------- a sweep

def choose_references(sweep, given=()):
    """{axis: label that the others are compared with}: as given (AXIS=LABEL), else the sweep's own."""
    out = sweep.references()
    for text in given:
        axis, _, label = text.partition("=")
        if axis not in out or label not in sweep.labels[axis]:
            raise SystemExit(f"analysis: --reference {text}: the axes are " + "; ".join(
                f"{a}: {', '.join(v)}" for a, v in sweep.labels.items()))
        out[axis] = label
    return out


def sweep_differences(sweep, references):
    """[{axis, label, reference, all: Estimate, (family, set): Estimate}], what changes most for the
    worse first; what cannot be compared has None."""
    out, families = [], sweep.families()
    for axis, reference in references.items():
        for label in sweep.labels[axis]:
            if label == reference:
                continue
            line = {"axis": axis, "label": label, "reference": reference, "all": sweep.compare(axis, label, reference)}
            for of in families:
                line[of] = sweep.compare(axis, label, reference, of)
            out.append(line)
    return sorted(out, key=lambda d: (d["all"] is None, d["all"].value if d["all"] else 0))


def _variant(d, several):
    return f"{d['axis']} {d['label']}" if several or d["label"].replace(".", "").isdigit() else d["label"]


def sweep_answer(sweep, differences, references):
    """Which part matters: every variant's difference in words, the largest loss first.  As markup."""
    several = sum(len(sweep.labels[a]) > 1 for a in references) > 1
    if not differences:
        return "<p>There is nothing to compare: no axis has two values.</p>"
    known = [d for d in differences if d["all"]]
    if not known:
        return "<p>No two members that differ in one value only have both finished: nothing can be compared yet.</p>"

    seeds = max(d["all"].seeds for d in known)

    def fewer(e):
        return "" if e.seeds == seeds else f", from {e.seeds} seed{'s' if e.seeds > 1 else ''} only"

    def listed(head, some):
        items = "".join(f"<li><b>{_esc(_variant(d, several))}</b>: {interval(d['all'])}{fewer(d['all'])}</li>" for d in some)
        return f"<p>{head}</p><ul>{items}</ul>" if some else ""
    worse = [d for d in known if d["all"].high < 0]
    against = "; ".join(f"{a}: {r}" for a, r in references.items() if len(sweep.labels[a]) > 1)
    later = ", ".join(_esc(_variant(d, several)) for d in differences if d["all"] is None)
    return ((listed("<b>These make it worse</b>, the largest loss first:", worse) or "<p><b>Nothing is clearly worse than the "
             "reference.</b></p>")
            + listed("<b>These make it better:</b>", [d for d in reversed(known) if d["all"].low > 0])
            + listed("No difference can be told for:", [d for d in known if not d["all"].apart])
            + f"<p>Differences are to the reference ({_esc(against)}), in percentage points of right queries over all families, with "
            f"95 % intervals over problems{f' and {seeds} seeds' if seeds > 1 else ''}."
            + ("" if seeds > 1 else " There is one seed: nothing is known of how another would come out.")
            + (f" Cannot be compared yet: {later}." if later else "") + "</p>")


# ---------------------------------------------------------------- students and their teachers

def teacher_pairs(sweep, families):
    """[{axis, label, "all" and (family, set): (student - teacher, student, teacher, student - teacher's first
    rule or None)}]: Estimates, for all values of all axes where some member's teacher was evaluated; what
    was not has None."""
    out = []
    for axis, labels in sweep.labels.items():
        for label in labels:
            pair = {"axis": axis, "label": label}
            for of in ["all", *families]:
                family = None if of == "all" else of
                e = sweep.above_teacher(axis, label, family)
                pair[of] = e and (e, sweep.level(axis, label, family), sweep.level(axis, label, family, sweep.teacher),
                                  sweep.above_teacher(axis, label, family, sweep.first_guess))
            if pair["all"]:
                out.append(pair)
    return out


def _beats(pair):
    """1: the student is above its teacher, -1: below, 0: neither can be told."""
    e = pair[0]
    return 1 if e.low > 0 else -1 if e.high < 0 else 0


def _listed(pairs, of):
    def one(p):
        e, student, teacher, first = p[of]
        apart = student.low > teacher.high or teacher.low > student.high
        return (f"<b>{_esc(p['label'])}</b> ({percent(student.value)} to {percent(teacher.value)}; {interval(e)}, "
                f"{'intervals apart' if apart else 'intervals overlap'}"
                + (f"; to the teacher's first rule alone {interval(first)}" if first else "") + ")")
    return ", ".join(one(p) for p in pairs)


def teacher_answer(sweep, pairs, families):
    """At which values students are above their own teachers, on the same problems.  As markup."""
    out = []
    for axis in dict.fromkeys(p["axis"] for p in pairs):
        items = []
        for of in families if families else ["all"]:
            mine = [p for p in pairs if p["axis"] == axis and p[of]]
            groups = [[p for p in mine if _beats(p[of]) == k] for k in (1, 0, -1)]
            parts = [f"{head} {_listed(some, of)}" for head, some in zip(
                ("above its teacher at", "not to be told from it at", "below it at"), groups) if some]
            if parts:
                parts[0] = parts[0] if groups[0] else "nowhere above its teacher; " + parts[0]
                items.append(f"<li><b>{_esc(title(*of))}</b>: the student is {'; '.join(parts)}</li>")
        if items:
            out.append(f"<p>By {_esc(axis)}:</p><ul>{''.join(items)}</ul>")
    return "".join(out) + ("<p>In brackets: right answers of the student to those of its own teacher, then the paired difference on "
                           "the same problems with its 95 % interval over problems and seeds, and whether the two intervals by "
                           "themselves are apart. The teacher has as many rules as the student, and must find them as well. Noise can "
                           "mislead its choice among many: then its first rule alone is the better teacher.</p>")


def _teacher_panels(sweep, axis, families):
    """For plots.above_teacher: per test set the students' lines and the teacher's."""
    arms = [a for a in dict.fromkeys(sweep.results["arm"]) if a not in ("trivial", TEACHER)]
    lines = [(f"{a}, {METHOD_TITLES[m]}", (m, k)) for k, a in enumerate(arms) for m in ("search", "search_interpreter")]
    out = []
    for of in families:
        mine = []
        for text, (method, k) in [*lines, ("its teacher, search", (TEACHER, 0)), ("its teacher, first rule", ("first_guess", 0))]:
            def line(i, method=method, k=k):
                of_teacher = {TEACHER: sweep.teacher, "first_guess": sweep.first_guess}.get(method)
                return of_teacher(i) if of_teacher else sweep.line(i, arms[k], method)
            estimates = [sweep.level(axis, label, of, line) for label in sweep.labels[axis]]
            if any(estimates):
                mine.append((text, (method, k), estimates))
        out.append((title(*of), mine))
    return out


def _teacher_section(page, sweep, pairs, families):
    page.section("Does the student beat its teacher?")
    page.answer(teacher_answer(sweep, pairs, families))
    for axis in dict.fromkeys(p["axis"] for p in pairs):
        page.figure(plots.above_teacher(_teacher_panels(sweep, axis, families), axis, sweep.labels[axis]),
                    f"Right answers of the students and of their own teacher over {axis} (values evenly spaced), each searching among its "
                    "most rules, with 95 % intervals over problems and seeds. Solid: the student proposes, checks and applies its rules "
                    "itself. Dashed, thin, hollow: the exact interpreter checks and applies them. Black crosses: the teacher, with "
                    "its noise, on the same problems; thin: its first rule alone.")


def _judged(sweep):
    """What members are judged by, in words."""
    kinds = {}
    for i in sweep.done:
        h = sweep.headline(i)
        if h:
            text = f"{h['arm']}, {METHOD_TITLES.get(h['method'], h['method'])}" + (f", {h['n']} rules" if h["method"] == "search" else "")
            kinds.setdefault(text, []).append(i)
    return kinds


def _ranges(numbers):
    """0-3, 7 for [0, 1, 2, 3, 7]."""
    out = []
    for n in sorted(numbers):
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in out)


def _write_ablation(sweep, differences, pairs, families, folder):
    """Differences to the reference, then those of students to their teachers."""
    header = ("axis", "label", "reference", "family", "set", "difference", "low", "high", "problems", "seeds")
    raw, shown = [], []
    to_teacher = [{"axis": p["axis"], "label": p["label"], "reference": name,
                   **{of: p[of] and p[of][k] for of in ["all", *families]}}
                  for k, name in ((0, "its teacher"), (3, "its teacher's first rule")) for p in pairs if p["all"][k]]
    for d in [*differences, *to_teacher]:
        cells = []
        for of in ["all", *families]:
            e, name = d[of], ("all", "") if of == "all" else of
            if e is not None:
                raw.append((d["axis"], d["label"], d["reference"], *name, e.value, e.low, e.high, e.problems, e.seeds))
            cells.append("" if e is None else f"{points(e.value)} ({points(e.low)} to {points(e.high)})")
        shown.append((d["axis"], d["label"], d["reference"], *cells))
    titles = ("axis", "variant", "reference", "all", *(title(*of) for of in families))
    tables.write_both(folder, "differences", (header, titles), raw, shown,
                      f"{sweep.name}: paired differences to the reference" + " or to the student's own teacher" * bool(pairs)
                      + ", percentage points of right queries, 95 % bootstrap intervals over problems and seeds.", range(3, len(titles)))
    return titles, shown


def _axis_levels(sweep, families):
    return [(axis, [(label, {title(*of): e for of in families if (e := sweep.level(axis, label, of))})
                    for label in labels]) for axis, labels in sweep.labels.items()]


def _rules(sweep, axis, families):
    """Accuracy of search against its number of rules, per label of an axis: means over members, and the
    range between them.  The arms are those that members are judged by."""
    search = where(sweep.results, parse="tolerant", method="search")
    judged = {i: sweep.headline(i)["arm"] for i in sweep.done}
    keep = np.array([judged.get(m) == a for m, a in zip(search["member"], search["arm"])], bool)
    search = {k: v[keep] for k, v in search.items()}
    out = []
    for family, name in families:
        lines = []
        for label in sweep.labels[axis]:
            r = where(search, family=family, set=name, **{"axis_" + axis: label})
            n = np.unique(r["n"])
            groups = [r["accuracy"][r["n"] == k] for k in n]
            if len(n):
                lines.append((label, n, *(np.array([f(g) for g in groups]) for f in (np.mean, np.min, np.max))))
        out.append((title(family, name), lines))
    return out


def _times(sweep):
    out = []
    for axis, labels in sweep.labels.items():
        points_ = []
        for label in labels:
            s = where(sweep.members, **{"axis_" + axis: label}).get("seconds", [])
            points_.append((label, [x for x in s if x > 0]))
        out.append((axis, points_))
    return out


def _sweep_tables(page, sweep, folder):
    header = tuple(sweep.results)
    tables.write_csv(os.path.join(folder, "results.csv"), header, [[x[h] for h in header] for x in rows(sweep.results)])
    header = tuple(sweep.members)
    tables.write_csv(os.path.join(folder, "members.csv"), header, [[x[h] for h in header] for x in rows(sweep.members)])
    page.section("Members")
    lines = []
    for m in rows(sweep.members):
        h = sweep.headline(m["index"])
        got = where(sweep.results, member=m["index"], parse="tolerant", **(h or {"arm": ""}))
        cells = [percent(x[0]) if len(x := where(got, family=f, set=s)["accuracy"]) else "" for f, s in sweep.families()]
        seconds = f"{m['seconds']:,.0f}" if m["seconds"] > 0 else ""
        state = m["state"] + (f": {m['reason']}" if m["reason"] and m["state"] != "done" else "")
        lines.append((m["index"], *(m["axis_" + a] for a in sweep.axes), m["seed"], state, seconds, *cells))
    page.table(("member", *sweep.axes, "seed", "state", "seconds", *(title(*of) for of in sweep.families())), lines,
               (0, 1 + len(sweep.axes), *range(3 + len(sweep.axes), 4 + len(sweep.axes) + len(sweep.families()))),
               "Every member of the plan with the accuracy it is judged by. Also in members.csv; all results in results.csv.")


def sweep_page(sweep, folder, given=()):
    """report.html of a sweep and its tables in a folder.  Returns the path of the page."""
    os.makedirs(folder, exist_ok=True)
    families, references = sweep.families(), choose_references(sweep, given)
    n, done = len(sweep.members["index"]), len(sweep.done)
    page = Page(f"Sweep {sweep.name}", f"{n} members, {done} of them with results; axes: " + "; ".join(
        f"{a} ({', '.join(v)})" for a, v in sweep.labels.items()) + f"; seeds: {_ranges(set(sweep.members['seed'].tolist()))}")
    page.section("Which part matters?", first=True)
    differences = sweep_differences(sweep, references)
    page.answer(sweep_answer(sweep, differences, references))
    several = sum(len(sweep.labels[a]) > 1 for a in references) > 1
    shown = [d for d in differences if d["all"]]
    pairs = teacher_pairs(sweep, families)
    columns = ["all"] + (families if len(families) > 1 else [])
    page.figure(plots.forest([(_variant(d, several), [d[c] for c in columns]) for d in shown],
                             ["all families" if len(families) > 1 else title(*families[0])] + [title(*c) for c in columns[1:]]
                             if families else []),
                "Every variant's difference to the reference, the largest loss at the top: right queries, percentage points, with 95 % "
                "intervals. Orange: worse, blue: better, hollow grey: cannot be told. Intervals are for one comparison each: of "
                "twenty variants without effect about one leaves out 0.")
    if shown or pairs:
        titles, lines = _write_ablation(sweep, differences, pairs, families, folder)
        page.table(titles, lines, range(3, len(titles)), "The same in numbers. Also in differences.csv and differences.tex.")
    kinds = _judged(sweep)
    page.text("Members are judged by their last arm, searching among the most rules they evaluate: " + "; ".join(
        f"{_esc(k)} (member{'s' if len(v) > 1 else ''} {_ranges(v)})" for k, v in kinds.items()) + "." if kinds else
        "No member has results.")
    if pairs:
        _teacher_section(page, sweep, pairs, families)
    if done:
        page.section("Accuracy along the axes")
        page.figure(plots.levels(_axis_levels(sweep, families)), "Right answers by the values of each axis, over all members that "
                    "have that value (other axes and seeds pooled), with 95 % intervals over problems and seeds.")
        for axis in sweep.axes:
            if len(sweep.labels[axis]) > 1:
                page.figure(plots.rules_by_label(_rules(sweep, axis, families)), "Right answers of search against the number of "
                            f"rules proposed, by {axis}: means over members, vertical lines from the worst to the best.")
        page.section("Time")
        page.figure(plots.member_times(_times(sweep)), "Wall time of every member (dots) and its median (bar), by the values of each axis.")
    _sweep_tables(page, sweep, folder)
    page.missing(sweep.missing)
    path = os.path.join(folder, "report.html")
    page.write(path)
    return path
