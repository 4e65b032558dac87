"""python3 -m analysis report RUN_OR_SWEEP -o DIR | summary RUN… -o DIR | watch RUN [--once]"""
import argparse
import os
import sys

MODULES = {"h5py": "python3-h5py", "numpy": "python3-numpy", "matplotlib": "python3-matplotlib"}


def need(*modules):
    """End with a word on what to install where a module is missing."""
    for name in modules:
        try:
            __import__(name)
        except ImportError:
            sys.exit(f"analysis: {sys.executable} has no {name}; Debian's package is {MODULES[name]}")


def report(args):
    need(*MODULES)
    from . import files
    try:
        print(write_page(args.what, args))
    except files.Damaged as e:
        sys.exit(f"analysis: {e}")


def write_page(path, args):
    from . import page
    from .runs import Run, Sweep
    if path.endswith(".h5") or os.path.exists(os.path.join(path, "sweep.h5")):
        return page.sweep_page(Sweep(path), args.output, args.reference)
    if os.path.exists(os.path.join(path, "sweep.json")):
        sys.exit(f"analysis: {path} is a sweep that was not collected yet: redistill sweep collect")
    if os.path.exists(os.path.join(path, "manifest.json")) or os.path.exists(os.path.join(path, "report.json")):
        return page.run_page(Run(path), args.output)
    sys.exit(f"analysis: {path}: neither a run (manifest.json) nor a sweep (sweep.h5)")


def summary(args):
    need(*MODULES)
    from . import summary as made
    from .runs import Run
    runs = [Run(path) for path in args.what]
    for r in runs:
        if not len(r.results["arm"]):
            sys.exit(f"analysis: {r.path}: no results: {'; '.join(r.missing) or 'report.json has none'}")
    print(made.write(runs, args.output))


def main():
    top = argparse.ArgumentParser(prog="python3 -m analysis", description="Reports on runs and sweeps of redistill.")
    commands = top.add_subparsers(dest="command", required=True)
    p = commands.add_parser("report", help="one HTML page with figures, and tables as CSV and LaTeX")
    p.add_argument("what", metavar="RUN_OR_SWEEP", help="a run's or a sweep's directory")
    p.add_argument("-o", "--output", metavar="DIR", required=True, help="where report.html and the tables go")
    p.add_argument("--reference", metavar="AXIS=LABEL", action="append", default=[],
                   help="of a sweep: what the others on this axis are compared with (default: the base config's value, or the first)")
    p = commands.add_parser("summary", help="runs of one config under several seeds: one figure, tables, what they say")
    p.add_argument("what", metavar="RUN", nargs="+", help="the runs' directories, say sweeps/NAME/members/*")
    p.add_argument("-o", "--output", metavar="DIR", required=True, help="where summary.svg, summary.md and summary.csv go")
    p = commands.add_parser("watch", help="follow a running job in the terminal")
    p.add_argument("what", metavar="RUN", help="its directory")
    p.add_argument("--once", action="store_true", help="print once and end")
    p.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look (2)")
    args = top.parse_args()
    if args.command == "report":
        return report(args)
    if args.command == "summary":
        return summary(args)
    need("h5py", "numpy")
    from .watch import watch
    try:
        watch(args.what, args.once, args.every)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
