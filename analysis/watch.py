"""Following a run in the terminal.

Looks at files only: metrics.h5 is replaced as a whole while a job runs, journals grow by whole
records, and everything else appears when it is finished.
"""
import glob
import os
import shutil
import struct
import sys
import time

import numpy as np

from .files import Damaged, File
from .runs import TEACHER, Run

_BLOCKS = " ▁▂▃▄▅▆▇█"
_MAGIC = b"RDJRNL1\0"


def spark(values, width=30):
    """A line of text as a curve."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return ""
    means = [p.mean() for p in np.array_split(values, min(width, len(values)))]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_BLOCKS[1 + round(7 * (m - low) / span)] for m in means)


def journal_progress(folder, stage):
    """(units done, units) of a stage's journals in a folder, or None without one."""
    done, total = set(), 0
    for path in glob.glob(os.path.join(folder, f"{stage}.*.journal")):
        try:
            with open(path, "rb") as f:
                header = f.read(32)
                if len(header) < 32 or header[:8] != _MAGIC:
                    continue
                total = max(total, struct.unpack("<q", header[16:24])[0])
                size = os.fstat(f.fileno()).st_size
                while len(head := f.read(24)) == 24:
                    unit, length = struct.unpack("<qq", head[:16])
                    if length < 0 or f.tell() + length > size:
                        break
                    done.add(unit)
                    f.seek(length, os.SEEK_CUR)
        except OSError:
            continue
    return (len(done), total) if total else None


def _span(seconds):
    seconds = int(seconds)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bar(share, width=20):
    full = round(width * min(max(share, 0), 1))
    return "█" * full + "·" * (width - full)


def _line(stage, arm, what):
    return f"  {stage:<8} {arm:<12} {what}"


def _units(folder, stage, arm, finished, journal=None):
    """The line of a stage that works through units."""
    if os.path.exists(os.path.join(folder, finished)):
        return _line(stage, arm, "done")
    p = journal_progress(folder, journal or stage)
    if p is None:
        return _line(stage, arm, "–")
    return _line(stage, arm, f"{_bar(p[0] / p[1])} {100 * p[0] / p[1]:3.0f} %  {p[0]} of {p[1]} units")


def _training(run, arm, stage):
    folder = os.path.join(run.path, "arms", arm)
    finished = os.path.exists(os.path.join(folder, "checkpoints", f"{stage}-final.h5"))
    try:
        with File(os.path.join(folder, "metrics.h5"), "redistill.metrics") as f:
            table = f.table(stage) if stage in f else {"step": []}
            speed = f.table(stage + "_speed") if stage + "_speed" in f else {"step": []}
    except Damaged as e:
        missing = not os.path.exists(os.path.join(folder, "metrics.h5"))
        return _line(stage, arm, "–" if missing else f"cannot be read: {e}")
    if not len(table["step"]):
        return _line(stage, arm, "done" if finished else "–")
    rate = speed["tokens_per_second"][-1] if len(speed["step"]) else 0.0
    text = f"step {table['step'][-1]}, loss {np.mean(table['loss'][-20:]):.4f} {spark(table['loss'])}"
    if "accuracy" in table:
        text += f", pairs right {100 * np.mean(table['accuracy'][-20:]):.0f} %"
    if finished:
        return _line(stage, arm, f"done  {text}")
    wanted = run.config.get(stage, {}).get("tokens", 0)
    wanted = (run.config.get("arms") or {}).get(arm, {}).get(f"{stage}.tokens", wanted)
    share = table["tokens"][-1] / wanted if wanted else 0
    head = f"{_bar(share)} {100 * min(share, 1):3.0f} %  " if wanted else ""
    left = f", {_span((wanted - table['tokens'][-1]) / rate)} to go" if wanted and rate > 0 and share < 1 else ""
    return _line(stage, arm, f"{head}{text}, {rate:,.0f} tokens/s{left}")


def _newest(path):
    """When a file of the run last changed; files come and go meanwhile."""
    newest = 0.0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                newest = max(newest, os.path.getmtime(os.path.join(folder, name)))
            except OSError:
                continue
    return newest


def state(path):
    """What there is to say of a run: (text, is it finished)."""
    run = Run(path)
    if not run.manifest:
        return f"{path}: no run has begun here yet", False
    stages, lines = run.config.get("stages", []), []
    if "augment" in stages:
        lines.append(_units(path, "augment", "", "traces.h5"))
    if "filter" in stages:
        lines.append(_line("filter", "", "done" if os.path.exists(os.path.join(path, "datasets.h5")) else "–"))
    for arm in run.arms:
        mine = [s for s in run.stages(arm) if s in stages]
        lines += [_training(run, arm, "sft")] if "sft" in mine else []
        own = os.path.join(path, "arms", arm, "own")
        if os.path.isdir(own):  # pairs of the student's own rules, before alignment
            lines.append(_units(own, "augment", arm, "traces.h5").replace("augment", "own    ", 1))
        lines += [_training(run, arm, "align")] if "align" in mine else []
        if "eval" in mine:
            lines.append(_units(os.path.join(path, "arms", arm), "eval", arm, "predictions.h5"))
    if "eval" in stages and run.config.get("eval", {}).get("teacher"):
        lines.append(_units(os.path.join(path, TEACHER), "eval", TEACHER, "predictions.h5", "augment"))
    finished = bool(run.report)
    quiet = time.time() - _newest(path)
    m = run.manifest
    head = f"{run.name} in {path}: {m.get('ranks', '?')} ranks on {m.get('host', '?')}, begun {m.get('date', '?')}"
    if finished:
        tail = f"done in {_span(run.report.get('seconds', 0))}"
    elif os.path.exists(os.path.join(path, "STOP")):
        tail = "asked to stop (there is a file STOP)"
    else:
        tail = f"last sign of life {_span(quiet)} ago" + (": is it still running?" if quiet > 600 else "")
    return "\n".join([head, *lines, f"  {tail}"]), finished


def watch(path, once=False, every=2.0, out=sys.stdout):
    """Print the state, again and again until the run is done."""
    while True:
        text, finished = state(path)
        if out.isatty() and not once:
            out.write("\033[H\033[J")
            width = shutil.get_terminal_size().columns
            text = "\n".join(line[:width] for line in text.splitlines())
        out.write(text + "\n")
        out.flush()
        if once or finished:
            return
        time.sleep(every)
