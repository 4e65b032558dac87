"""The checks of tests/analysis.t: analysis.py NAME ARGUMENTS…; the last line says what was found."""
import csv
import json
import os
import re
import struct
import subprocess
import sys
import zlib

import h5py
import numpy as np

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, HERE)
from analysis import Run, Sweep, plots, rows, stats, watch, where  # noqa: E402
from analysis import summary as made  # noqa: E402
from analysis.runs import RESULT_COLUMNS  # noqa: E402


# ---------------------------------------------------------------- a real run

def numbers(path):
    """All of report.json's results that are not a baseline's, from predictions.h5, to the digit."""
    run, n = Run(path), 0
    arms = [*run.arms, *(["teacher"] if run.config["eval"].get("teacher") else [])]
    mine = {tuple(r[k] for k in RESULT_COLUMNS[:6]): r for a in arms for r in rows(run.accuracy(a))}
    for r in run.report["results"]:
        if r["arm"] == "trivial":
            continue
        got = mine.pop(tuple(r[k] for k in RESULT_COLUMNS[:6]))
        for k in RESULT_COLUMNS[6:]:
            assert abs(got[k] - r[k]) <= 1e-12 * max(1, abs(r[k])), (r, k, got[k])
            n += 1
    assert not mine, mine
    rules, counts = run.rules, run.report["counts"]["filter"]
    for family, histogram in counts["score_histogram"].items():
        mine = where(rules, family=family)
        assert np.bincount(mine["score"]).tolist() == histogram, family
        r = counts["length_quality_correlation"][family]
        if r is not None:
            assert abs(stats.pearson(mine["words"], mine["share"]) - r) < 1e-9, (family, r)
        n += len(histogram) + 1
    assert not run.missing, run.missing
    print(f"{n} numbers")


def readme(page, folder):
    """Every block of Python of a page, run in a folder as a reader would."""
    text = open(os.path.join(HERE, page), encoding="utf-8").read()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    printed = []
    for block in blocks:
        out = subprocess.run([sys.executable, "-c", block], cwd=folder, env=dict(os.environ, PYTHONPATH=HERE),
                             capture_output=True, text=True)
        assert out.returncode == 0 and out.stdout.strip(), out.stderr + block
        printed.append(out.stdout)
    if page == "README.md":  # accuracy per family and method in five lines
        assert blocks[0].count("\n") == 5, blocks[0]
        report = Run(os.path.join(folder, "runs/quickstart")).report["results"]
        want = {(r["family"], r["method"], r["n"]): r["accuracy"] for r in report
                if r["arm"] == "redis-sft" and r["parse"] == "tolerant"}
        families = ["list_function", "arc1d", "acre", "miniscan"]
        methods = {1: "io", 2: "search", 4: "search_interpreter", 8: "vote", 16: "random_rules"}
        got = {(families[int(f)], methods[int(m)], int(n)): float(x) for f, m, n, x in
               (line.split() for line in printed[0].splitlines())}
        assert got.keys() == want.keys() and all(abs(got[k] - want[k]) < 1e-12 for k in want), (got, want)
    print(f"{len(blocks)} blocks")


def closed(text):
    """Nothing of a page is elsewhere."""
    assert not re.search(r"(https?|file|ftp):|//[a-z]|<script|<link|<iframe|@import|src=", text), "a reference"
    assert not re.search(r'(xlink:)?href="(?!#)|url\((?!#)', text), "a link"
    ids = re.findall(r'\sid="([^"]*)"', text)
    assert len(ids) == len(set(ids)), "an id twice"
    for used in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text):
        assert (used[0] or used[1]) in ids, used


def page(folder, path):
    text = open(os.path.join(folder, "report.html"), encoding="utf-8").read()
    closed(text)
    figures = text.count("<figure>")
    assert figures in (7, 8), figures  # speed has a figure where training took more than one look at the clock
    run = Run(path)
    for family in ("list_function", "arc1d"):
        r = where(run.results, family=family, parse="tolerant", method=["io", "vote", "search"])
        r = [x for x in rows(r) if x["arm"] not in ("trivial", "teacher")]
        last = {}
        for x in r:
            last[x["arm"], x["method"]] = max(last.get((x["arm"], x["method"]), x), x, key=lambda y: y["n"])
        best = max(last.values(), key=lambda x: x["accuracy"])
        assert re.search(rf"<b>{plots.title(family)}\.</b> Best is <b>\S+ [^<]*</b>: {100 * best['accuracy']:.1f} %",
                         text), family
        teacher = rows(where(run.results, family=family, parse="tolerant", arm="teacher", n=50))[0]["accuracy"]
        assert f"against its teacher with search among 50 rules, {100 * teacher:.1f} %: intervals" in text, family
    with open(os.path.join(folder, "results.csv"), encoding="utf-8") as f:
        lines = list(csv.DictReader(f))
    assert len(lines) == len(run.report["results"])
    assert all(float(a["accuracy"]) == b["accuracy"] for a, b in zip(lines, run.report["results"]))
    tex = open(os.path.join(folder, "results.tex"), encoding="utf-8").read()
    assert tex.count(r"\\") == len(lines) // 2 + 1 and r"\toprule" in tex
    assert "What is missing" not in text
    print(f"{figures} figures, {len(text) // 1024} KiB, nothing from elsewhere")


def summary(folder, *paths):
    """Its numbers are those of the reports; it says how every search stands to every rival."""
    runs = [Run(p) for p in paths]
    with open(os.path.join(folder, "summary.csv"), encoding="utf-8") as f:
        lines = list(csv.DictReader(f))
    n = 0
    for x in lines:
        run = next(r for r in runs if str(r.config["run"]["seed"]) == x["seed"])
        r = where(run.results, parse="tolerant", arm=x["arm"], family=x["family"], set=x["set"], n=int(x["n"]))
        if x["arm"] == "trivial":
            best = max(rows(r), key=lambda y: y["accuracy"])
            assert x["method"] == best["method"], (x, best)
        else:
            best, = rows(where(r, method=x["method"]))
        for c in ("accuracy", "low", "high", "tokens_per_query"):
            assert float(x[c]) == best[c], (x, c, best[c])
            n += 1
    want = {(r["arm"], r["family"], r["method"], r["n"]) for r in rows(runs[0].results) if r["arm"] != "trivial"}
    got = {(x["arm"], x["family"], x["method"], int(x["n"])) for x in lines if x["arm"] != "trivial"}
    assert got == want, got ^ want
    text = open(os.path.join(folder, "summary.md"), encoding="utf-8").read()
    for family in ("list_function", "arc1d"):
        a, b = ([where(run.results, parse="tolerant", family=family, arm=arm, method=method, n=n) for run in runs]
                for arm, method, n in (("redis", "search", 4), ("imitation", "io", 0)))
        apart = sum(x["low"][0] > y["high"][0] for x, y in zip(a, b))
        both = " / ".join(f"{100 * x['accuracy'][0]:.1f}" for x in a)
        part = text.split(f"- **{plots.title(family)}**: redis, search, N = 4: {both} %\n")[1]
        part = part.split("\n- ")[0]
        assert re.match(rf"  - against imitation, direct: [0-9./ ]* %: intervals apart in {apart} of 2; ", part), part
        assert part.count("against") >= 4, part  # direct, votes, random rules, the best trivial rule
        before = [where(run.results, parse="tolerant", family=family, arm="redis-sft", method="search", n=4) for run in runs]
        points = 100 * sum(x["accuracy"][0] - y["accuracy"][0] for x, y in zip(a, before)) / 2
        theirs = " / ".join(f"{100 * x['accuracy'][0]:.1f}" for x in before)
        assert f"against redis-sft, search, N = 4: {theirs} %" in part, part
        said = re.search(r"against redis-sft, search, N = 4: .*; ([+−][0-9.]+) points", part)[1]
        assert abs(float(said.replace("−", "-")) - points) < 0.06, (said, points)
        assert f" | {both} ±" in text
    assert len(re.findall(r"^\|---", text, re.M)) == 1  # every family was answered by the same arms
    every = {of: made.lines(runs, of) for of in (("list_function", ""), ("arc1d", ""))}
    every["arc1d", "apart"] = [{**x, "arm": "arc-" + x["arm"]} for x in every["arc1d", ""]]
    assert [list(part) for part in made.by_arms(every)] == [[("list_function", ""), ("arc1d", "")], [("arc1d", "apart")]]
    picture = open(os.path.join(folder, "summary.svg"), encoding="utf-8").read()
    assert picture.count('id="axes_') == 2 and "<image" not in picture
    print(f"{n} numbers")


# ---------------------------------------------------------------- files made up

def seal(path):
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        f.seek(512)
        sums = b""
        while block := f.read(4 << 20):
            sums += zlib.crc32(block).to_bytes(8, "little")
        text = (f"redistill seal 1\nbytes {size}\ncrc32 of the crc32s of blocks of {4 << 20} bytes, from byte 512 on: "
                f"{zlib.crc32(sums):08x}\n")
        f.seek(0)
        f.write(text.encode().ljust(512, b"\n"))


class Writer:
    """A file in the format of redistill: columns, and texts in a pool."""

    def __init__(self, path, schema):
        self.path, self.f, self.pool = path, h5py.File(path, "w", userblock_size=512), {}
        for name, value in {"schema": schema, "schema_version": 1, "software": "redistill", "software_version": "0",
                            "git": "", "date": "", "config": ""}.items():
            self.f.attrs[name] = value

    def text(self, values):
        return np.array([self.pool.setdefault(v, len(self.pool)) for v in values], "i8")

    def table(self, name, columns):
        for c, values in columns.items():
            self.f[f"{name}/{c}"] = values

    def close(self):
        raw = [t.encode() for t in self.pool]
        self.f["text/bytes"] = np.frombuffer(b"".join(raw), "u1")
        self.f["text/offset"] = np.concatenate(([0], np.cumsum([len(r) for r in raw]))).astype("i8")
        self.f.close()
        seal(self.path)


def write_member(folder, seed, right, queries=3, teacher=None):
    """A run's directory with one arm, whose search has right[family][problem] of the queries right; teacher:
    the same of its teacher."""
    os.makedirs(os.path.join(folder, "arms/redis"))
    config = {"run": {"name": "member", "seed": seed}, "stages": ["eval"], "arms": {"redis": {"stages": ["eval"]}},
              "tasks": [{"family": "list_function", "generate": 100, "test": 60}]}
    with open(os.path.join(folder, "manifest.json"), "w") as f:
        json.dump({"config": config}, f)
    write_predictions(os.path.join(folder, "arms/redis"), right, queries)
    if teacher is not None:
        os.makedirs(os.path.join(folder, "teacher"))
        write_predictions(os.path.join(folder, "teacher"), teacher, queries)


def write_predictions(folder, right, queries):
    w = Writer(os.path.join(folder, "predictions.h5"), "redistill.predictions")
    family = np.repeat(np.arange(len(right)), [len(r) for r in right])
    r = np.concatenate(right)
    n = len(r)
    w.f.attrs["key"] = 1
    w.table("problem", {"family": family.astype("u1"), "source": np.zeros(n, "i4"), "id": np.arange(n), "task": np.arange(n),
                        "demos": np.full(n, 4, "i4"), "queries": np.full(n, queries, "i4")})
    none = np.zeros(0, "i4")
    w.table("hypothesis", {"problem": none.astype("i8"), "draw": none, "rule": none.astype("i8"), "score": none,
                           "followed": none, "interpreter_score": none, "samples": none})
    of, query = np.repeat(np.arange(n), queries), np.tile(np.arange(queries), n)
    good = (query < r[of]).astype("u1")
    w.table("answer", {"problem": of, "query": query.astype("i4"), "method": np.full(len(of), 2, "u1"),
                       "n": np.full(len(of), 50, "i4"), "hypothesis": np.full(len(of), -1), "response": np.full(len(of), -1),
                       "strict": good, "tolerant": good})
    w.table("spent", {"problem": np.arange(n), "method": np.full(n, 2, "u1"), "n": np.full(n, 50, "i4"),
                      "tokens_in": np.full(n, 100), "tokens_out": np.full(n, 50)})
    w.close()


VARIANTS = {"full": 0.6, "no-filter": 0.35, "no-align": 0.6, "bigger": 0.75}  # shares of right queries
LAMBDAS = ("0.1", "0.2")
SEEDS = (1, 2, 3)


def sweep(folder):
    """A sweep of made-up members; their differences are found."""
    members, results, i = [], [], 0
    made = {}
    for v, share in VARIANTS.items():
        for lam in LAMBDAS:
            for seed in SEEDS:
                rng = np.random.default_rng([seed, LAMBDAS.index(lam), 7])
                hard = rng.uniform(-0.25, 0.25, (2, 60))  # the same problems for all variants of a seed
                own = np.random.default_rng([seed, i])
                right = [own.binomial(3, np.clip(share + h, 0, 1)) for h in hard]
                state = "missing" if i == 7 else "failed" if i == 11 else "done"
                if state != "missing":
                    write_member(os.path.join(folder, "members", f"{i:04d}"), seed, right)
                members.append((i, state, "out of disk" if state == "failed" else "", seed, f"{v},{lam},{seed}", 100.0 + i, v, lam))
                if state == "done":
                    made[v, lam, seed] = right
                    for k, family in enumerate(("list_function", "arc1d")):
                        accuracy, low, high = stats.cluster_interval(right[k], np.full(60, 3))
                        results.append((i, seed, v, lam, "redis", family, "", "search", 50, "tolerant", accuracy, low, high,
                                        0.5, 60, 180, 50.0))
                i += 1
    write_sweep(folder, "made-up", members, results, ["variant", "lambda"])
    with open(os.path.join(folder, "spec.json"), "w") as f:
        json.dump({"base": "base.json", "axes": [
            {"name": "variant", "values": [{"label": v, "set": {}} for v in VARIANTS]},
            {"name": "lambda", "key": "align.lambda", "values": [0.1, 0.2]}]}, f)
    with open(os.path.join(folder, "base.json"), "w") as f:
        json.dump({"align": {"lambda": 0.2}}, f)

    s = Sweep(folder)
    assert s.axes == ["variant", "lambda"] and s.labels["variant"] == list(VARIANTS)
    assert s.missing == ["member 7 (no-filter,0.1,2): missing", "member 11 (no-filter,0.2,3): failed: out of disk"], s.missing
    assert s.references() == {"variant": "full", "lambda": "0.2"}, s.references()
    assert s.headline(0) == {"arm": "redis", "method": "search", "n": 50}
    for v, share in VARIANTS.items():
        if v == "full":
            continue
        e = s.compare("variant", v, "full")
        pairs = [(made[v, lam, seed], made["full", lam, seed]) for lam in LAMBDAS for seed in SEEDS if (v, lam, seed) in made]
        want = np.mean([np.concatenate(a) for a, _ in pairs]) / 3 - np.mean([np.concatenate(b) for _, b in pairs]) / 3
        assert abs(e.value - want) < 1e-12, (v, e, want)
        assert e.low <= share - VARIANTS["full"] <= e.high and e.seeds == 3, (v, e)
        assert e.apart == (v != "no-align"), (v, e)
        one = s.compare("variant", v, "full", ("arc1d", ""))
        want = np.mean([a[1] for a, _ in pairs]) / 3 - np.mean([b[1] for _, b in pairs]) / 3
        assert abs(one.value - want) < 1e-12 and one.high - one.low > e.high - e.low, (v, one)
    assert not s.compare("lambda", "0.2", "0.1").apart
    level = s.level("variant", "bigger", ("arc1d", ""))
    assert level.low < 0.75 < level.high and level.high - level.low < 0.2, level
    print(f"{i} members, three differences found")


def sweeppage(folder):
    text = open(os.path.join(folder, "report.html"), encoding="utf-8").read()
    closed(text)
    answer = re.search(r'<div class="answer">(.*?)</div>', text, re.S)[1]
    parts = re.findall(r"<p>(.*?)</p>(?:<ul>(.*?)</ul>)?", answer)
    assert [re.findall("<li><b>(.*?)</b>", items) for _, items in parts] == [
        ["variant no-filter"], ["variant bigger"], ["variant no-align", "lambda 0.1"], []], parts
    assert "make it worse" in parts[0][0] and "3 seeds" in parts[3][0], parts
    assert "member 11 (no-filter,0.2,3): failed: out of disk" in text and "What is missing" in text
    assert text.count("<figure>") == 3, text.count("<figure>")
    with open(os.path.join(folder, "differences.csv"), encoding="utf-8") as f:
        lines = list(csv.DictReader(f))
    order = [x["label"] for x in lines if x["family"] == "all"]
    assert order[0] == "no-filter" and order[-1] == "bigger" and len(lines) == 3 * 4, order
    print(re.sub("<[^>]*>", "", parts[0][0] + " " + parts[0][1]))


def write_sweep(folder, name, members, results, axes):
    """sweep.h5 and sweep.json of made-up members."""
    w = Writer(os.path.join(folder, "sweep.h5"), "redistill.sweep")
    w.f.attrs["name"], w.f.attrs["spec"] = name, name + ".json"
    at = [f"axis_{a}" for a in axes]
    text = {"state", "reason", "label", *at, "arm", "family", "set", "method", "parse"}
    for table, names, lines in (
            ("member", ["index", "state", "reason", "seed", "label", "seconds", *at], members),
            ("result", ["member", "seed", *at, *RESULT_COLUMNS], results)):
        w.table(table, {n: w.text(c) if n in text else np.array(c) for n, c in zip(names, zip(*lines))})
    w.close()
    with open(os.path.join(folder, "sweep.json"), "w") as f:
        json.dump({"name": name, "axes": axes, "members": [], "spec": "spec.json"}, f)


NOISES = {"0": (0.62, 0.9), "0.1": (0.6, 0.6), "0.6": (0.58, 0.3)}  # shares of right queries: student, teacher


def teachersweep(folder):
    """A sweep over how noisy the teacher is: where its student is above it."""
    members, results, i, made = [], [], 0, {}
    for noise, shares in NOISES.items():
        for seed in SEEDS:
            hard = np.random.default_rng([seed, 3]).uniform(-0.1, 0.1, (2, 60))
            rng = np.random.default_rng([seed, i, 1])
            student, teacher = ([rng.binomial(3, np.clip(s + h, 0, 1)) for h in hard] for s in shares)
            write_member(os.path.join(folder, "members", f"{i:04d}"), seed, student, teacher=teacher)
            made[noise, seed] = student, teacher
            members.append((i, "done", "", seed, f"{noise},{seed}", 100.0, noise))
            for arm, right in (("redis", student), ("teacher", teacher)):
                for k, family in enumerate(("list_function", "arc1d")):
                    results.append((i, seed, noise, arm, family, "", "search", 50, "tolerant",
                                    *stats.cluster_interval(right[k], np.full(60, 3)), 0.5, 60, 180, 50.0))
            i += 1
    write_sweep(folder, "noisy", members, results, ["noise"])
    s = Sweep(folder)
    assert s.headline(0) == {"arm": "redis", "method": "search", "n": 50}
    assert s.teacher(0) == {"arm": "teacher", "method": "search", "n": 50} and not s.missing
    for noise, shares in NOISES.items():
        mean = [np.mean([made[noise, seed][k] for seed in SEEDS]) / 3 for k in (0, 1)]
        e = s.above_teacher("noise", noise)
        assert abs(e.value - (mean[0] - mean[1])) < 1e-12 and e.seeds == 3, (noise, e, mean)
        assert e.low <= shares[0] - shares[1] <= e.high, (noise, e)
        assert (e.low > 0, e.high < 0) == (noise == "0.6", noise == "0"), (noise, e)
        level = s.level("noise", noise, ("arc1d", ""), s.teacher)
        assert abs(level.value - np.mean([made[noise, seed][1][1] for seed in SEEDS]) / 3) < 1e-12
    print(f"{i} members, above their teachers where planted")


def teacherpage(folder):
    text = open(os.path.join(folder, "report.html"), encoding="utf-8").read()
    closed(text)
    assert text.count("<figure>") == 4, text.count("<figure>")
    assert "Does the student beat its teacher?" in text and "What is missing" not in text
    said = re.search(r"<p>By noise:</p><ul>(.*?)</ul>", text, re.S)[1]
    items = re.findall(r"<li><b>(.*?)</b>: (.*?)</li>", said)
    assert [i[0] for i in items] == ["List Function", "1D-ARC"], said
    for _, line in items:
        groups = [re.findall(r"<b>(.*?)</b>", x) for x in re.split(r"; (?=not to be told|below it)", line)]
        assert groups == [["0.6"], ["0.1"], ["0"]], line
        assert "is above its teacher at" in line and "intervals apart" in line, line
    with open(os.path.join(folder, "differences.csv"), encoding="utf-8") as f:
        lines = [x for x in csv.DictReader(f) if x["reference"] == "its teacher"]
    assert [(x["label"], x["family"]) for x in lines] == [(n, f) for n in NOISES for f in ("all", "list_function", "arc1d")]
    assert open(os.path.join(folder, "differences.tex"), encoding="utf-8").read().count("& its teacher &") == 3
    print(re.sub("<[^>]*>", "", items[0][1])[:150])


def journal(folder):
    os.makedirs(folder)
    def record(unit, length):
        return struct.pack("<qqq", unit, length, 0) + b"x" * length
    header = struct.pack("<qqqq", 0x314C4E524A4452, 5, 10, 0)
    for rank, body in enumerate((record(0, 5) + record(3, 100), record(3, 7) + record(4, 0) + record(5, 50)[:30])):
        with open(os.path.join(folder, f"eval.{rank}.journal"), "wb") as f:
            f.write(header + body)
    assert watch.journal_progress(folder, "eval") == (3, 10), watch.journal_progress(folder, "eval")
    assert watch.journal_progress(folder, "augment") is None
    print("3 of 10 units, one twice, one torn")


# ---------------------------------------------------------------- intervals

def coverage():
    """Planted differences: how often does a 95 % interval hold the true one?"""
    settings = {  # seeds, same problems for all seeds?, what the effect varies by with seed and problem, at least
        "one seed": (1, True, 0.0, 0.10, 0.91),
        "three seeds, same problems": (3, True, 0.04, 0.10, 0.91),
        "three seeds, own problems": (3, False, 0.04, 0.10, 0.91),
        "three seeds that make no difference": (3, False, 0.0, 0.10, 0.91),
        "six seeds that matter most": (6, False, 0.10, 0.02, 0.91),
        "three seeds that matter most": (3, False, 0.10, 0.02, 0.83),  # too few to know how much they matter
    }
    said, repeats, problems, queries, planted = [], 400, 50, 3, 0.08
    for name, (seeds, crossed, by_seed, by_problem, least) in settings.items():
        rng, hits, off = stats.keyed("coverage", name), 0, []
        for k in range(repeats):
            hard = rng.normal(0, 0.2, (1 if crossed else seeds, problems))
            effect = planted + rng.normal(0, by_problem, hard.shape) + rng.normal(0, by_seed, (seeds, 1))
            right = [rng.binomial(queries, np.clip(0.45 + hard + d, 0, 1) * np.ones((seeds, problems)))
                     for d in (effect / 2, -effect / 2)]
            total = np.full(problems, queries)
            e = stats.bootstrap(*([(r, total) for r in side] for side in right), crossed=crossed, purpose=k, draws=300)
            hits += e.low <= planted <= e.high
            off.append(e.value - planted)
        share = hits / repeats
        said.append(f"{name} {100 * share:.1f} %")
        print(f"# {name}: {100 * share:.1f} %, mean error {np.mean(off):+.4f}")
        assert least <= share <= 0.995, said
        assert abs(np.mean(off)) < 4 * np.std(off) / np.sqrt(repeats) + 0.003, (name, np.mean(off))
    print("; ".join(said))


def keyed():
    rng = np.random.default_rng(5)
    a, b = ([(rng.binomial(3, p, 40), np.full(40, 3)) for _ in range(2)] for p in (0.5, 0.4))
    first = stats.bootstrap(a, b, crossed=True, purpose="x")
    np.random.seed(3)
    stats.bootstrap(b, crossed=False, purpose="y")
    assert stats.bootstrap(a, b, crossed=True, purpose="x") == first
    assert stats.bootstrap(a, b, crossed=True, purpose="z") != first
    assert stats.bootstrap(a, a, crossed=True)[:3] == (0.0, 0.0, 0.0)
    assert not stats.bootstrap(a, a, crossed=True).apart
    assert abs(stats.t975(7) - 2.3646) < 1e-9 and abs(stats.t975(25) - 2.0595) < 2e-3 and abs(stats.t975(1e9) - 1.95996) < 1e-3
    p, low, high = stats.cluster_interval([0, 0], [3, 3])
    assert (p, low) == (0, 0) and abs(high - 0.6576) < 1e-3, high
    print(f"{first.value:.4f} ({first.low:.4f} to {first.high:.4f})")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
