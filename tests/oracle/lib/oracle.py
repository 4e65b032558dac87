"""TAP for tests/oracle/*.py, and running the C tests of this tree on golden files made just now."""
import os
import re
import subprocess
import sys

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
_count, _failed = 0, 0


def ok(good, text):
    global _count, _failed
    _count += 1
    _failed += not good
    print(f"{'' if good else 'not '}ok {_count} - {text}", flush=True)
    return bool(good)


def diag(text):
    for line in str(text).splitlines():
        print("# " + line, flush=True)


def golden_test(program, directory, what, arguments=()):
    """The results of a C test that reads golden files, on those in `directory`."""
    env = dict(os.environ, RD_GOLDEN=directory)
    run = subprocess.run([os.path.join(BUILD, "tests", program), *arguments], env=env, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    planned, results = None, 0
    for line in run.stdout.splitlines():
        result = re.match(r"(not )?ok \d+ (.*)", line)
        plan = re.match(r"1\.\.(\d+)$", line)
        if result:
            results += 1
            ok(not result[1], f"{what}: {result[2].lstrip('- ')}")
        elif plan:
            planned = int(plan[1])
        else:
            diag(line.lstrip("# "))
    ok(run.returncode == 0 and planned == results, f"{what}: {program} ends well")


def done():
    print(f"1..{_count}")
    sys.exit(1 if _failed else 0)
