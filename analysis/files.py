"""Opening the HDF5 files: tables as dictionaries of columns, texts by their ids.

SCHEMA.md describes them.  Nothing here knows more of them than that page, but for the seal, the
checksum in front of every file, which is verified before HDF5 sees a byte.
"""
import re
import zlib

import h5py
import numpy as np

FAMILIES = ("list_function", "arc1d", "acre", "miniscan")
METHODS = {1: "io", 2: "search", 4: "search_interpreter", 8: "vote", 16: "random_rules",
           32: "follow_true_rule"}
SEAL_BYTES = 512


class Damaged(Exception):
    """A file that is not there, not ours, or not as it was written; the text says which and why."""


def check_seal(path):
    """Raise Damaged unless the file fits the checksum at its front."""
    with open(path, "rb") as f:
        text = f.read(SEAL_BYTES).decode("latin-1")
        if text.startswith("\x89HDF"):
            raise Damaged(f"{path}: no checksum at its front")
        m = re.match(r"redistill seal 1\nbytes (\d+)\n.* of (\d+) bytes, from byte \d+ on: (\w{8})\n", text)
        if not m:
            raise Damaged(f"{path}: damaged, or not a file of redistill")
        sums, size = b"", SEAL_BYTES
        while block := f.read(int(m[2])):
            sums += zlib.crc32(block).to_bytes(8, "little")
            size += len(block)
    if size != int(m[1]) or zlib.crc32(sums) != int(m[3], 16):
        raise Damaged(f"{path}: damaged: it does not fit its checksum")


class File:
    """A file of redistill, read when asked for.

    File("traces.h5", "redistill.traces") verifies checksum, schema and version (Damaged).
      .attributes          the root's, as a dictionary
      .tables              names of the tables
      .table("task")       {column: array}, all of one length; kept in memory once read
      .array("report/rows")
      .text(i), .texts(ids), .words(ids)    strings, and how many words they have; -1 is None and 0
    """

    def __init__(self, path, schema=None, version=1, sealed=True):
        self.path = str(path)
        try:
            if sealed:
                check_seal(self.path)
            self.h5 = h5py.File(self.path, "r")
        except OSError as e:
            raise Damaged(f"{self.path}: {e.strerror or str(e).splitlines()[0]}") from None
        self.attributes = dict(self.h5.attrs)
        found, at = self.attributes.get("schema"), self.attributes.get("schema_version", 0)
        if schema and found != schema:
            raise Damaged(f"{self.path}: the schema is {found}, want {schema}")
        if at > version:
            raise Damaged(f"{self.path}: version {at} of {found} is newer than this reader's ({version})")
        self._tables, self._text = {}, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.h5.close()

    @property
    def tables(self):
        return [n for n, g in self.h5.items() if isinstance(g, h5py.Group) and n != "text"]

    def __contains__(self, name):
        return name in self.h5

    def table(self, name):
        if name not in self._tables:
            if name not in self.h5:
                raise Damaged(f"{self.path}: there is no {name} in it")
            self._tables[name] = {c: d[:] for c, d in self.h5[name].items()}
        return self._tables[name]

    def array(self, name):
        return self.h5[name][...]

    def _pool(self):
        if self._text is None:
            self._text = self.h5["text/offset"][:], self.h5["text/bytes"][:]
        return self._text

    def text(self, i):
        if i < 0:
            return None
        offset, raw = self._pool()
        return raw[offset[i]:offset[i + 1]].tobytes().decode("utf-8", "replace")

    def texts(self, ids):
        """Of many ids, each string decoded once."""
        distinct, place = np.unique(np.asarray(ids), return_inverse=True)
        return np.array([self.text(i) for i in distinct], dtype=object)[place]

    def words(self, ids):
        """Runs of anything but blanks, as the program counts them."""
        offset, raw = self._pool()
        blank = raw == ord(" ")
        starts = ~blank
        starts[1:] &= blank[:-1]
        starts[offset[:-1][offset[:-1] < len(raw)]] |= ~blank[offset[:-1][offset[:-1] < len(raw)]]
        before = np.concatenate(([0], np.cumsum(starts)))
        ids = np.asarray(ids)
        at = np.maximum(ids, 0)
        return np.where(ids < 0, 0, before[offset[at + 1]] - before[offset[at]])
