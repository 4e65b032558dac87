"""For tests/schema.t: breaks files, and reads files by the page that describes them.

  schema.py break RUN DIR     writes broken copies; prints FILE, a pattern of the line that must
                              tell of it, and STATUS:WHAT, separated by tabs
  schema.py read PAGE RUN     opens every file below RUN with h5py and follows PAGE
"""
import os
import re
import sys

import h5py
import numpy as np

# ---------------------------------------------------------------- breaking


def copy(source, target):
    """A copy by h5py, which has no seal: the check goes on and says so."""
    with h5py.File(source, "r") as f, h5py.File(target, "w") as g:
        for name in f:
            f.copy(name, g)
        for name, value in f.attrs.items():
            g.attrs[name] = value


def put(f, name, values, **more):
    del f[name]
    f.create_dataset(name, data=values, **more)


def change(name, row, value):
    def f(g):
        g[name][row] = value
    return f


def drop(name):
    def f(g):
        del g[name]
    return f


def attribute(name, value):
    def f(g):
        g.attrs[name] = value
    return f


CASES = [
    # file, what is done, the line's pattern, what it is
    ("traces.h5", lambda f: None, "no checksum at its front", "a copy without a seal"),
    ("traces.h5", drop("task/family"), "task/family is missing", "a column is gone"),
    ("traces.h5", drop("application"), "the table application is missing", "a table is gone"),
    ("traces.h5", lambda f: put(f, "task/demos", f["task/demos"][:].astype("i8")),
     "task/demos: the type is int64, want int32", "a column of another type"),
    ("traces.h5", lambda f: put(f, "example/role", f["example/role"][:-1]),
     "example/role: [0-9]* rows, the table's first column has", "a column too short"),
    ("traces.h5", lambda f: put(f, "task/id", f["task/id"][:].reshape(1, -1)),
     "task/id: 2 dimensions, want 1", "a column of two dimensions"),
    ("traces.h5", change("hypothesis/rule", 3, 10**9), "hypothesis/rule: row 3 is text 1000000000 of",
     "a text that is not there"),
    ("traces.h5", change("hypothesis/rule", slice(3, 8), -2),
     "hypothesis/rule: row 3 is text -2 of [0-9]* (and 4 more)", "five negative texts"),
    ("traces.h5", change("example/input", 0, -1), "example/input: row 0 is text -1", "a text that must be there"),
    ("traces.h5", change("application/hypothesis", -1, 10**7), "is row 10000000 of hypothesis, which has",
     "a row that is not there"),
    ("traces.h5", change("task/first_example", 2, 10**6), "task/first_example: row 2 is rows 1000000 + ",
     "a range behind the end"),
    ("traces.h5", change("task/hypotheses", 0, -1), "task/hypotheses: row 0 is -1, want at least 0", "a negative count"),
    ("traces.h5", change("task/family", 1, 4), "task/family: row 1 is 4, want 0 to 3", "a fifth family"),
    ("traces.h5", change("text/offset", 2, 10**9), "text/offset: row 2 is 1000000000", "an offset behind the end"),
    ("traces.h5", change("text/offset", -1, 0), "text/offset: row [0-9]* is 0, after", "offsets that go back"),
    ("traces.h5", drop("text/bytes"), "text/bytes is missing", "text without bytes"),
    ("traces.h5", attribute("schema", "redistill.unknown"), "knows no schema 'redistill.unknown'", "a foreign schema"),
    ("traces.h5", attribute("schema_version", 2), "version 2 of the schema .* is newer", "a newer version"),
    ("traces.h5", lambda f: f.attrs.__delitem__("key"), "the attribute key is missing", "an attribute is gone"),
    ("traces.h5", attribute("key", "text"), "the attribute key is not an integer", "an attribute of another type"),
    ("traces.h5", lambda f: f.create_dataset("task/mood", data=np.zeros(5)), "note: column task/mood", "a further column"),
    ("datasets.h5", change("sft/kind", 0, 3), "sft/kind: row 0 is 3, want 0 to 2", "a fourth kind"),
    ("datasets.h5", lambda f: put(f, "report/rows", np.zeros((3, 5), "i8")),
     "report/rows: extent 5 in dimension 1, want 4", "an array of another shape"),
    ("arms/redis/predictions.h5", change("answer/strict", 0, 2), "answer/strict: row 0 is 2", "a flag of 2"),
    ("arms/redis/predictions.h5", change("answer/hypothesis", 1, -2), "answer/hypothesis: row 1 is row -2", "row -2"),
    ("arms/redis/metrics.h5", drop("align/nll"), "align/nll is missing", "a column of metrics is gone"),
    ("arms/redis/checkpoints/align-final.h5",
     lambda f: put(f, "weights/model.norm.weight", f["weights/model.norm.weight"][:].astype("f8")),
     "weights/model.norm.weight: the type is float64, want float32", "a weight of another type"),
]


def break_files(run, to):
    os.makedirs(to)
    for i, (file, f, pattern, what) in enumerate(CASES):
        target = os.path.join(to, f"{i}.h5")
        copy(os.path.join(run, file), target)
        with h5py.File(target, "r+") as g:
            f(g)
        print(f"{i}.h5\t{pattern}\t3:{what}")


# ---------------------------------------------------------------- reading by the page


def parse(page):
    """{schema: {"tables": {name: {column: (type, optional table)}}, "arrays": [...]}} of the page."""
    schemas, schema, table, kind = {}, None, None, None
    for line in open(page, encoding="utf-8"):
        if m := re.match(r"## (redistill\.\w+), version (\d+)", line):
            schema = schemas[m[1]] = {"version": int(m[2]), "tables": {}, "arrays": {}, "attributes": {}}
        elif m := re.match(r"\*\*/(\w+)\*\*( \(optional\))?:", line):
            table = schema["tables"][m[1]] = {"optional": bool(m[2]), "columns": {}}
        elif m := re.match(r"\| (attribute|column|array) \|", line):
            kind = m[1]
        elif schema and line.startswith("| "):
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if kind == "column":
                table["columns"][cells[0]] = cells[1]
            else:
                schema[kind + "s"][cells[0]] = cells[1]
    return schemas


def read_file(path, schemas):
    """Everything that the page says of this file, with h5py alone; returns how much there was."""
    values = texts = 0
    with h5py.File(path, "r") as f:
        schema = schemas[f.attrs["schema"]]
        assert f.attrs["schema_version"] == schema["version"]
        for name, type_ in schema["attributes"].items():
            assert name in f.attrs or "optional" in type_, name
        strings = None
        if "text" in f:
            offset, raw = f["text/offset"][:], f["text/bytes"][:].tobytes()
            strings = [raw[offset[i]:offset[i + 1]].decode("utf-8", "replace") for i in range(len(offset) - 1)]
        for name, table in schema["tables"].items():
            if name not in f:
                assert table["optional"], name
                continue
            columns = {c: f[name][c][:] for c in table["columns"] if "*" not in c}
            assert len({len(c) for c in columns.values()}) == 1, name
            for c, type_ in table["columns"].items():
                if "*" in c:
                    continue
                x, least = columns[c], -1 if "or -1" in type_ else 0
                assert str(x.dtype) == type_.split(" ")[0].strip(","), (name, c)
                values += len(x)
                if "→ text" in type_:
                    assert ((x >= least) & (x < len(strings))).all(), (name, c)
                    texts += len([strings[i] for i in x if i >= 0])
                elif m := re.search(r"→ (\w+), (\S+) rows", type_):
                    count = sum(columns[k] for k in m[2].split("+"))
                    assert (x + count <= len(next(iter(f[m[1]].values())))).all(), (name, c)
                elif m := re.search(r"→ (\w+)", type_):
                    assert ((x >= least) & (x < len(next(iter(f[m[1]].values()))))).all(), (name, c)
        for name, type_ in schema["arrays"].items():
            group = f.get(os.path.dirname(name))
            assert group is not None or "optional" in type_, name
            for k in group or []:
                if os.path.basename(name) not in ("NAME", k):
                    continue
                assert str(group[k].dtype) == type_.split(",")[0], (name, k)
                values += group[k][...].size
    return values, texts


def read_run(page, run):
    schemas, n, values, texts = parse(page), 0, 0, 0
    for folder, _, names in os.walk(run):
        for name in sorted(names):
            if name.endswith(".h5"):
                v, t = read_file(os.path.join(folder, name), schemas)
                n, values, texts = n + 1, values + v, texts + t
    print(f"{n} files, {values} values, {texts} of them texts")
    return 0 if n else 1


if __name__ == "__main__":
    if sys.argv[1] == "break":
        break_files(sys.argv[2], sys.argv[3])
    else:
        sys.exit(read_run(sys.argv[2], sys.argv[3]))
