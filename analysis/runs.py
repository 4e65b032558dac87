"""A run or a sweep as columns.  README.md lists the columns.

What is missing or damaged is no error here: it is noted in `.missing` (texts for a reader), and
what needs it is empty.
"""
import json
import os

import numpy as np

from . import stats
from .files import FAMILIES, METHODS, Damaged, File

TEACHER = "teacher"  # in place of an arm: the run's teacher, searching the test problems itself (eval.teacher)
RESULT_COLUMNS = ("arm", "family", "set", "method", "n", "parse", "accuracy", "low", "high", "solved",
                  "problems", "queries", "tokens_per_query")


def where(columns, **conditions):
    """Rows of {name: array} in which every named column has the value, or one of a list of values."""
    n = len(next(iter(columns.values()))) if columns else 0
    keep = np.ones(n, bool)
    for name, value in conditions.items():
        several = isinstance(value, (list, tuple, set, np.ndarray))
        keep &= np.isin(columns[name], list(value)) if several else columns[name] == value
    return {k: v[keep] for k, v in columns.items()}


def rows(columns):
    """{name: array} as a list of dictionaries."""
    lists = {k: v.tolist() for k, v in columns.items()}
    return [dict(zip(lists, r)) for r in zip(*lists.values())]


def _columns(dicts, names):
    out = {}
    for name in names:
        values = [d.get(name) for d in dicts]
        text = any(isinstance(v, str) for v in values)
        out[name] = np.array(values, dtype=object if text or not values else None)
    return out


class Run:
    """A run's directory.

      .name, .config, .manifest, .report    as in manifest.json and report.json ({} if missing)
      .arms                                 names, in the order of the config
      .results                              columns: report.json's results
      .accuracy(arm)                        the same columns, computed from predictions.h5
      .problems(arm, method, n)             columns: what an arm did on every problem
      .predictions(arm), .metrics(arm), .traces, .datasets    a File, or None
      .rules                                columns: the teacher's rules on training tasks
      .missing                              what is not there or damaged
    """

    def __init__(self, path):
        self.path = str(path)
        self.missing = []
        self._files = {}
        self.manifest = self._json("manifest.json")
        self.report = self._json("report.json")
        self.config = self.manifest.get("config", {})
        name = self.config.get("run", {}).get("name")
        self.name = name or os.path.basename(os.path.abspath(self.path))
        arms = self.config.get("arms") or {}
        self.arms = list(arms) or self._folders()
        self.results = _columns(self.report.get("results", []), RESULT_COLUMNS)

    def _folders(self):
        """Without a manifest, the arms are the folders that are there."""
        folder = os.path.join(self.path, "arms")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def _json(self, name):
        try:
            with open(os.path.join(self.path, name), encoding="utf-8") as f:
                return json.load(f)
        except OSError as e:
            self.missing.append(f"{name}: {e.strerror}")
        except ValueError as e:
            self.missing.append(f"{name}: damaged: {e}")
        return {}

    def _file(self, name, schema, version=1):
        if name not in self._files:
            try:
                self._files[name] = File(os.path.join(self.path, name), schema, version)
            except Damaged as e:
                self._files[name] = None
                self.missing.append(str(e).replace(self.path + "/", ""))
        return self._files[name]

    def close(self):
        for f in self._files.values():
            if f is not None:
                f.close()
        self._files = {}

    def look(self):
        """Open every file that the config lets expect, so that .missing is complete."""
        stages = self.config.get("stages", [])
        if "augment" in stages:
            self.traces
        if "filter" in stages:
            self.datasets
        for arm in self.arms:
            mine = [s for s in self.stages(arm) if s in stages]
            if "sft" in mine or "align" in mine:
                self.metrics(arm)
            if "eval" in mine:
                self.predictions(arm)
        if "eval" in stages and self.config.get("eval", {}).get("teacher"):
            self.predictions(TEACHER)

    def stages(self, arm):
        """Stages of an arm, as its config names them."""
        keys = (self.config.get("arms") or {}).get(arm, {})
        return keys.get("stages", self.config.get("stages", []))

    def predictions(self, arm):
        if arm == TEACHER and arm not in self.arms:
            return self._file("teacher/predictions.h5", "redistill.predictions", 2)
        return self._file(f"arms/{arm}/predictions.h5", "redistill.predictions", 2)

    def metrics(self, arm):
        return self._file(f"arms/{arm}/metrics.h5", "redistill.metrics")

    @property
    def traces(self):
        return self._file("traces.h5", "redistill.traces")

    @property
    def datasets(self):
        return self._file("datasets.h5", "redistill.datasets")

    # ------------------------------------------------------------ predictions

    def _sets(self, arm, problem):
        """The name of each problem's test set; "" unless entries of `tasks` give names."""
        names = np.array([t.get("set", "") for t in self.config.get("tasks", [])], dtype=object)
        if not any(names):
            return np.full(len(problem["id"]), "", dtype=object)
        if "source" not in problem:
            self._miss(f"{arm}'s predictions.h5: version 1 does not say which test set a problem is of: evaluate again")
            return np.full(len(problem["id"]), "?", dtype=object)
        return names[problem["source"]]

    def _miss(self, text):
        if text not in self.missing:
            self.missing.append(text)

    def problems(self, arm, method, n=0, parse="tolerant"):
        """Columns family, set, source, id, task, right, total, tokens: one row per problem that has
        answers of the method at n.  source (entry of the config's tasks) and id name a problem; right and
        total count queries; tokens are those spent on all of them."""
        f = self.predictions(arm)
        if f is None:
            return {c: np.zeros(0, object if c in ("family", "set") else np.int64)
                    for c in ("family", "set", "source", "id", "task", "right", "total", "tokens")}
        problem, answer, spent = f.table("problem"), f.table("answer"), f.table("spent")
        code = next(k for k, v in METHODS.items() if v == method)
        count = len(problem["id"])
        mine = (answer["method"] == code) & (answer["n"] == n)
        of = answer["problem"][mine]
        total = np.bincount(of, minlength=count)
        right = np.bincount(of, weights=answer[parse][mine], minlength=count).astype(np.int64)
        paid = (spent["method"] == code) & (spent["n"] == n)
        amount = spent["tokens_in"][paid] + spent["tokens_out"][paid]
        tokens = np.bincount(spent["problem"][paid], weights=amount, minlength=count).astype(np.int64)
        keep = total > 0
        return {"family": np.array(FAMILIES, object)[problem["family"]][keep], "set": self._sets(arm, problem)[keep],
                "source": problem.get("source", problem["task"])[keep], "id": problem["id"][keep],
                "task": problem["task"][keep], "right": right[keep],
                "total": total[keep], "tokens": tokens[keep]}

    def accuracy(self, arm):
        """The lines of report.json's results for an arm, from its predictions.h5 alone."""
        out, f = [], self.predictions(arm)
        answer = f.table("answer") if f is not None else {"method": np.zeros(0, int), "n": np.zeros(0, int)}
        for code, n in sorted(set(zip(answer["method"].tolist(), answer["n"].tolist()))):
            for parse in ("strict", "tolerant"):
                p = self.problems(arm, METHODS[code], n, parse)
                for family, name in sorted(set(zip(p["family"], p["set"]))):
                    q = where(p, family=family, set=name)
                    accuracy, low, high = stats.cluster_interval(q["right"], q["total"])
                    queries = int(q["total"].sum())
                    out.append({"arm": arm, "family": family, "set": name, "method": METHODS[code], "n": n,
                                "parse": parse, "accuracy": accuracy, "low": low, "high": high,
                                "solved": float((q["right"] == q["total"]).mean()),
                                "problems": len(q["id"]), "queries": queries,
                                "tokens_per_query": float(q["tokens"].sum() / queries)})
        return _columns(out, RESULT_COLUMNS)

    # ------------------------------------------------------------ the teacher's rules

    @property
    def rules(self):
        """Columns family, task, score, demos, share (score / demos), words, draw: one row per rule that
        the teacher proposed for a training task of a source that is trained on, as the filter
        stage counts them."""
        f = self.traces
        if f is None or "hypothesis" not in f:
            return {}
        h, task = f.table("hypothesis"), f.table("task")
        off = [not t.get("train", True) for t in self.config.get("tasks", [])] + [False] * 64
        used = (task["split"] == 0) & ~np.array(off)[task["source"]]
        keep = used[h["task"]]
        of, score = h["task"][keep], h["score"][keep]
        demos = task["demos"][of]
        return {"family": np.array(FAMILIES, object)[task["family"][of]], "task": of, "score": score,
                "demos": demos, "share": score / np.maximum(demos, 1), "words": f.words(h["rule"][keep]),
                "draw": h["draw"][keep]}


def same_tasks(a, b):
    """Do runs of two configs have the same test problems?  They follow from the tasks' config and, where
    tasks are generated or held out, from the seed."""
    own = ("train", "known_rule", "hypotheses")  # keys of an entry that change no test problem

    def tasks(c):
        return [{k: v for k, v in t.items() if k not in own} for t in c.get("tasks", [])]

    if not tasks(a) or tasks(a) != tasks(b) or a.get("data") != b.get("data"):
        return False
    fixed = all(t.get("test_file") or not t.get("test") and not t.get("generate") for t in tasks(a))
    return fixed or a.get("run", {}).get("seed") == b.get("run", {}).get("seed")


def headline(results, arms=None):
    """The result a member of a sweep is judged by: {"arm", "method", "n"}, or None.

    Its last arm (nothing of `trivial`, nor its teacher), with search among the most rules, or, where it does not
    search, its direct answers or votes.  Not chosen by accuracy.
    """
    r = where(results, parse="tolerant") if results else {}
    names = [a for a in dict.fromkeys(r.get("arm", ())) if a not in ("trivial", TEACHER)]
    if not names:
        return None
    arm = [a for a in arms if a in names][-1] if arms and set(arms) & set(names) else names[-1]
    r = where(r, arm=arm)
    for method in ("search", "io", "vote", "search_interpreter", "follow_true_rule", "random_rules"):
        n = r["n"][r["method"] == method]
        if len(n):
            return {"arm": arm, "method": method, "n": int(max(n))}
    return None


class Sweep:
    """A sweep's folder with its sweep.h5 (`redistill sweep collect` writes it).

      .axes                names; .labels[axis]: labels of its values, in the order of the spec
      .members             columns: index, state, reason, seed, label, seconds, axis_NAME…
      .results             columns: member, seed, axis_NAME…, and those of a run's results
      .run(index)          that member's Run
      .headline(index)     the result it is judged by (see headline)
      .teacher(index)      its teacher's own search at as many rules, or None (eval.teacher)
      .first_guess(index)  its teacher's first rule alone, or None
      .done                indices of the members that have results
      .references()        {axis: label that the others are compared with}
    """

    def __init__(self, path):
        path = str(path)
        self.path = os.path.dirname(path) or "." if path.endswith(".h5") else path
        self.missing, self._runs, self._outcomes = [], {}, {}
        self.plan = self._plan()
        with File(os.path.join(self.path, "sweep.h5"), "redistill.sweep") as f:
            self.members = self._decode(f, "member")
            self.results = self._decode(f, "result")
        self.name = self.plan.get("name") or os.path.basename(os.path.abspath(self.path))
        found = [c[5:] for c in self.members if c.startswith("axis_")]
        self.axes = [a for a in self.plan.get("axes", found) if a in found]
        order = np.argsort(self.members["index"], kind="stable")
        self.labels = {a: list(dict.fromkeys(self.members["axis_" + a][order])) for a in self.axes}
        have = set(self.results["member"].tolist())
        self.done = [i for i in self.members["index"][order].tolist() if i in have]
        for m in rows(self.members):
            if m["state"] != "done":
                self.missing.append(f"member {m['index']} ({m['label']}): {m['state']}"
                                    + (f": {m['reason']}" if m.get("reason") else ""))

    def _plan(self):
        try:
            with open(os.path.join(self.path, "sweep.json"), encoding="utf-8") as f:
                return json.load(f)
        except (OSError, ValueError) as e:
            self.missing.append(f"sweep.json: {e}")
            return {}

    def references(self):
        """{axis: the label that others are compared with}: the value that the base config has, where the
        spec can still be read and that is one of the axis's; else the first."""
        out = {a: labels[0] for a, labels in self.labels.items() if labels}
        spec, base = self._spec()
        for axis in spec.get("axes", []):
            keys = axis.get("keys") or [axis.get("key")]
            have = [_value_at(base, k) for k in keys]
            for k, value in enumerate(axis.get("values", [])):
                labels = axis.get("labels") or [None] * (k + 1)
                label = labels[k] if k < len(labels) and labels[k] else value.get("label") if isinstance(value, dict) \
                    else str(value) if isinstance(value, str) else json.dumps(value)
                same = not isinstance(value, dict) and (value if axis.get("keys") else [value]) == have
                if same and label in self.labels.get(axis.get("name"), ()):
                    out[axis["name"]] = label
        return out

    def _spec(self):
        """The spec and its base config; empty where they are not to be found."""
        name = self.plan.get("spec", "")
        for path in (name, os.path.join(self.path, name)):
            try:
                with open(path, encoding="utf-8") as f:
                    spec = json.load(f)
                with open(os.path.join(os.path.dirname(path), spec["base"]), encoding="utf-8") as f:
                    return spec, json.load(f)
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return {}, {}

    @staticmethod
    def _decode(f, table):
        texts = {"state", "reason", "label", "arm", "family", "set", "method", "parse"}
        out = {}
        for name, column in f.table(table).items():
            text = name in texts or name.startswith("axis_")
            out[name] = f.texts(column) if text else column
            if text:
                out[name][np.equal(out[name], None)] = ""
        return out

    def run(self, index):
        if index not in self._runs:
            self._runs[index] = Run(os.path.join(self.path, "members", f"{index:04d}"))
        return self._runs[index]

    def member(self, index):
        return rows(where(self.members, index=index))[0]

    def headline(self, index):
        return headline(where(self.results, member=index))

    def line(self, index, arm, method, n=None):
        """A member's result of a method at n, or else at its largest n: {"arm", "method", "n"}, or None."""
        r = where(self.results, member=index, parse="tolerant", arm=arm, method=method)["n"].tolist()
        return {"arm": arm, "method": method, "n": n if n in r else max(r)} if r else None

    def teacher(self, index):
        h = self.headline(index)
        return self.line(index, TEACHER, "search", h["n"] if h and h["method"] == "search" else None)

    def first_guess(self, index):
        """Its teacher's first rule alone, which may be better than a search that its noise misleads."""
        line = self.line(index, TEACHER, "search", 1)
        return line if line and line["n"] == 1 else None

    def families(self):
        """(family, set) of the results, in the order of the families."""
        r = where(self.results, parse="tolerant")
        pairs = set(zip(r["family"], r["set"]))
        return sorted(pairs, key=lambda p: (FAMILIES.index(p[0]) if p[0] in FAMILIES else 9, p[1]))

    # ------------------------------------------------------------ problems and pairs

    def outcomes(self, index, line=None):
        """{(family, set): (keys, right, total)} of a member's headline, or another of its results, problem
        by problem."""
        line = line or self.headline(index)
        if line is None:
            return {}
        name = index, line["arm"], line["method"], line["n"]
        if name not in self._outcomes:
            self._outcomes[name] = self._read_outcomes(index, line)
            self.run(index).close()  # hundreds of members are more files than a process may have open
        return self._outcomes[name]

    def _read_outcomes(self, index, line):
        run = self.run(index)
        p = run.problems(line["arm"], line["method"], line["n"])
        if len(p["id"]) == 0:
            self._note(run, index)
        out = {}
        for of in sorted(set(zip(p["family"], p["set"]))):
            q = where(p, family=of[0], set=of[1])
            out[of] = (list(zip(q["source"].tolist(), q["id"].tolist())), q["right"], q["total"])
        return out

    def _note(self, run, index):
        for text in run.missing:
            line = f"member {index}: {text}"
            if line not in self.missing:
                self.missing.append(line)

    def _same_tasks(self, i, j):
        return same_tasks(self.run(i).config, self.run(j).config)

    def compare(self, axis, label, reference, family=None):
        """How much better members with `label` on the axis are than those with `reference`: a
        stats.Estimate with `.detail`, or None when no two members differ in just that.

        Members are paired by seed and by the labels of all other axes; both of a pair must be done.
        Differences are over the pair's common problems.  family: a (family, set), or None for all.
        """
        cells, seeds, paired, crossed, first = {}, {}, True, True, None
        names = ["axis_" + a for a in self.axes if a != axis] + ["seed"]
        for m in rows(self.members):
            if m["index"] in self.done and m["axis_" + axis] in (label, reference):
                cells.setdefault(tuple(m[n] for n in names), {})[m["axis_" + axis]] = m["index"]
        for key, pair in sorted(cells.items(), key=lambda c: str(c[0])):
            if len(pair) < 2:
                continue
            same = self._same_tasks(pair[label], pair[reference])
            a, b = _common(self.outcomes(pair[label]), self.outcomes(pair[reference]), same, family)
            if a is None:
                continue
            paired &= same
            first = pair[label] if first is None else first
            crossed &= self._same_tasks(first, pair[label])
            seeds.setdefault(key[-1], []).append((a, b))
        if not seeds:
            return None
        sides = [[_add([pair[k] for pair in pairs]) for pairs in seeds.values()] for k in (0, 1)]
        return stats.bootstrap(*sides, crossed=crossed, paired=paired,
                               purpose=f"{axis}={label} - {reference}, {family}")

    def level(self, axis, label, family=None, line=None):
        """Accuracy of the members with `label` on the axis, over everything else: an Estimate or None.

        line: which result of a member, as a function of its index; None: the one it is judged by.
        """
        seeds, crossed, first, name = {}, True, None, None
        for m in rows(where(self.members, **{"axis_" + axis: label})):
            of_member = line(m["index"]) if line else self.headline(m["index"])
            if m["index"] not in self.done or of_member is None:
                continue
            outcome = self.outcomes(m["index"], of_member)
            parts = [(r, t) for of, (_, r, t) in sorted(outcome.items()) if family in (None, of)]
            if not parts:
                continue
            first = m["index"] if first is None else first
            name = name or (f", {of_member['arm']}, {of_member['method']}, {of_member['n']}" if line else "")
            crossed &= self._same_tasks(first, m["index"])
            seeds.setdefault(m["seed"], []).append(tuple(np.concatenate(x) for x in zip(*parts)))
        if not seeds:
            return None
        return stats.bootstrap([_add(s) for s in seeds.values()], crossed=crossed,
                               purpose=f"{axis}={label}, {family}{name}")

    def above_teacher(self, axis, label, family=None, line=None):
        """How much better the members with `label` on the axis are than their own teachers, on the same
        problems: an Estimate, or None when no member has both.  line: which result of a teacher, as a
        function of the member's index; None: its search among as many rules."""
        line = line or self.teacher
        seeds, crossed, first = {}, True, None
        for m in rows(where(self.members, **{"axis_" + axis: label})):
            i = m["index"]
            if i not in self.done or line(i) is None:
                continue
            a, b = _common(self.outcomes(i), self.outcomes(i, line(i)), True, family)
            if a is None:
                continue
            of = f" at {line(i)['n']}"
            first = i if first is None else first
            crossed &= self._same_tasks(first, i)
            seeds.setdefault(m["seed"], []).append((a, b))
        if not seeds:
            return None
        sides = [[_add([pair[k] for pair in pairs]) for pairs in seeds.values()] for k in (0, 1)]
        return stats.bootstrap(*sides, crossed=crossed, purpose=f"{axis}={label} - teacher{of}, {family}")


def _value_at(config, key):
    """config["a"]["b"][0] for "a.b[0]"; None where there is none."""
    try:
        for part in key.replace("[", ".[").split("."):
            config = config[int(part[1:-1])] if part.startswith("[") else config[part]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    return config


def _common(a, b, same, family):
    """Right and total of two members on their common problems; None, None when there are none."""
    left, right = [], []
    for of in sorted(set(a) & set(b)):
        if family not in (None, of):
            continue
        (ka, ra, ta), (kb, rb, tb) = a[of], b[of]
        if same:
            place = {k: i for i, k in enumerate(kb)}
            pick = [(i, place[k]) for i, k in enumerate(ka) if k in place]
            i, j = (np.array(x, int) for x in zip(*pick)) if pick else (np.zeros(0, int),) * 2
            ra, ta, rb, tb = ra[i], ta[i], rb[j], tb[j]
        left.append((ra, ta))
        right.append((rb, tb))
    if not left or not sum(len(r) for r, _ in left) or not sum(len(r) for r, _ in right):
        return None, None
    return tuple(np.concatenate(x) for x in zip(*left)), tuple(np.concatenate(x) for x in zip(*right))


def _add(parts):
    """The sums of (right, total) of several members on the same problems."""
    if len({len(r) for r, _ in parts}) == 1:
        return sum(r for r, _ in parts), sum(t for _, t in parts)
    return tuple(np.concatenate(x) for x in zip(*parts))
