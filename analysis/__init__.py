"""Reading and showing the files of redistill: see README.md beside this file.

    from analysis import Run, Sweep, stats
"""
import importlib

_HOME = {"FAMILIES": "files", "METHODS": "files", "Damaged": "files", "File": "files", "Run": "runs", "Sweep": "runs",
         "rows": "runs", "where": "runs"}
__all__ = list(_HOME)


def __getattr__(name):  # so that a missing h5py is told by those who need it
    if name in _HOME:
        return getattr(importlib.import_module("." + _HOME[name], __name__), name)
    if name in ("files", "runs", "stats", "plots", "page", "tables", "watch"):
        return importlib.import_module("." + name, __name__)
    raise AttributeError(name)
