"""Hypothesis search beside transformers.generate and llama.cpp, which get exactly its requests.

    peers_search.py BUILD MODEL.gguf DATA [problems=8] [dtype=f32,bf16] [rounds=3]

MODEL.gguf: SmolLM2-135M-Instruct (make smollm2 fetches it); DATA: the folder with the official
list_function.jsonl.  Search with 10 hypotheses on all demonstrations of some problems.  Interleaved
rounds, medians.  LLAMA_PYTHON names a Python that has llama-cpp-python, if this one has not.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MPI = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
           OPENBLAS_NUM_THREADS="1")


def call(command, **more):
    run = subprocess.run(command, capture_output=True, text=True, **more)
    if run.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return run.stdout


def write_config(path, model, problems, dtype):
    config = {
        "run": {"name": "search", "seed": 1}, "prompts": os.path.join(ROOT, "inputs/prompts/instruct.json"),
        "tasks": [{"family": "list_function", "file": "list_function.jsonl"}],
        "model": {"base": os.path.abspath(model)},
        "eval": {"methods": ["search"], "hypotheses": [10], "rule_temperature": 0.9,
                 "follow_temperature": 0, "max_rule_tokens": 80, "max_answer_tokens": 80,
                 "max_len": 768, "slots": 96, "problems": problems},
        "arms": {"base": {"stages": ["eval"]}}}
    if dtype != "f32":
        config["compute"] = dtype
    with open(path, "w") as f:
        json.dump(config, f)


def search(program, ranks, threads, config, data, run, **more):
    command = ["mpirun", "-n", str(ranks), "--bind-to", "core" if threads == 1 else "none", program,
               "run", config, "--set", f"run.dir={run}", "--set", f"data.dir={os.path.abspath(data)}",
               "--set", f"grid.threads={threads}"]
    call(command, env=dict(MPI, OMP_NUM_THREADS=str(threads), **more))
    with open(os.path.join(run, "report.json")) as f:
        report = json.load(f)
    return next(t["max"] for t in report["timing"] if t["section"] == "eval")


def to_f16(python, model, to):
    code = ("import sys, llama_cpp as L\np = L.llama_model_quantize_default_params()\n"
            "p.ftype, p.allow_requantize = L.LLAMA_FTYPE_MOSTLY_F16, True\n"
            "sys.exit(L.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), p))")
    call([python, "-c", code, model, to])


def seconds_of(python, script, *arguments):
    return [float(x) for x in call([python, os.path.join(HERE, script), *arguments]).split()[-3:]]


def main():
    build, model, data = sys.argv[1:4]
    s = dict(problems="8", dtype="f32,bf16", rounds="3", slots="32", batch="64")
    s.update(a.split("=", 1) for a in sys.argv[4:])
    llama = os.environ.get("LLAMA_PYTHON", sys.executable)
    have_llama = subprocess.run([llama, "-c", "import llama_cpp"], capture_output=True).returncode == 0
    with tempfile.TemporaryDirectory() as tmp:
        config, requests = os.path.join(tmp, "c.json"), os.path.join(tmp, "requests")
        folder, gguf = os.path.join(tmp, "folder"), os.path.join(tmp, "f16.gguf")
        program = os.path.join(build, "redistill")
        write_config(config, model, int(s["problems"]), "f32")
        search(os.path.join(build, "tests/bench/requests"), 1, 2, config, data, os.path.join(tmp, "log"),
               RD_REQUESTS=requests)
        with open(requests) as f:
            listed = [json.loads(line) for line in f]
        print(f"{len(listed)} requests, {sum(len(r['ids']) for r in listed)} tokens in, "
              f"{sum(r['out'] for r in listed)} tokens out", flush=True)
        call([program, "export", model, "--to", folder], env=MPI)
        if have_llama:
            to_f16(llama, model, gguf)
        times, number = {}, 0

        def note(name, seconds):
            times.setdefault(name, []).append(seconds)

        for _ in range(int(s["rounds"])):
            for dtype in s["dtype"].split(","):
                write_config(config, model, int(s["problems"]), dtype)
                for ranks, threads in ((2, 1), (1, 2)):
                    number += 1
                    note(f"redistill {dtype}, {ranks} x {threads}",
                         search(program, ranks, threads, config, data, os.path.join(tmp, f"run{number}")))
                note(f"transformers {dtype}",
                     seconds_of(sys.executable, "transformers_generate.py", folder, requests,
                                f"dtype={dtype}", f"batch={s['batch']}")[0])
            if have_llama:
                note("llama.cpp f16", seconds_of(llama, "llamacpp_generate.py", gguf, requests,
                                                 f"slots={s['slots']}")[0])
        for name, seconds in times.items():
            print(f"{name:28} {statistics.median(seconds):8.1f} s   {' '.join(f'{x:.1f}' for x in seconds)}")


main()
