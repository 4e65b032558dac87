"""What `redistill export --format llama-factory` writes is what LLaMA-Factory trains on: its own loader reads the files by
dataset_info.json, and prompts, responses and labels are those of datasets.h5, in the default and in the official mode."""
import os
import subprocess
import sys
import tarfile
import tempfile
import types
from importlib.machinery import ModuleSpec

# LLaMA-Factory's data package imports what only pictures and sound need, and we have not installed.
for name in ("torchaudio", "av", "librosa"):
    sys.modules.setdefault(name, types.ModuleType(name)).__spec__ = ModuleSpec(name, None)

import h5py
import oracle
from llamafactory.data.loader import _load_single_dataset
from llamafactory.data.parser import get_dataset_list

PROGRAM = os.path.join(sys.argv[1], "redistill")
STAGES = ["--set", 'stages=["augment","filter"]']


def redistill(*arguments):
    subprocess.run([PROGRAM, *arguments], check=True, stdout=subprocess.DEVNULL)


def load(folder, name):
    """The dataset in LLaMA-Factory's standard form, as its trainers get it."""
    data = types.SimpleNamespace(dataset_dir=folder, max_samples=None, streaming=False, preprocessing_num_workers=None, overwrite_cache=True,
                                 preprocessing_batch_size=1000, media_dir=folder)
    model = types.SimpleNamespace(cache_dir=os.path.join(folder, "cache"), hf_hub_token=None)
    training = types.SimpleNamespace(seed=1, local_process_index=0, dataloader_num_workers=0)
    (attributes,) = get_dataset_list([name], folder)
    return _load_single_dataset(attributes, model, data, training)


def texts(file, table, column):
    """A text column: ids into /text."""
    data, offset = file["text/bytes"][:].tobytes(), file["text/offset"][:]
    return [data[offset[i]:offset[i + 1]].split(b"\0")[0].decode() for i in file[f"{table}/{column}"][:]]


def said(messages):
    return [m["content"] for m in messages]


def compare(what, run, folder):
    with h5py.File(os.path.join(run, "datasets.h5")) as f:
        kinds = f["sft/kind"][:].tolist()
        rows = list(zip(kinds, texts(f, "sft", "prompt"), texts(f, "sft", "response")))
        pairs = list(zip(texts(f, "pair", "prompt"), texts(f, "pair", "chosen"), texts(f, "pair", "rejected")))
        labelled = list(zip(texts(f, "kto", "prompt"), texts(f, "kto", "response"), f["kto/label"][:].tolist()))
    for kind, name in enumerate(("generate_rule_sft", "apply_rule_sft", "direct_fewshot_sft")):
        want = [[p, r] for k, p, r in rows if k == kind]
        if not want:
            continue
        got = [said(x["_prompt"]) + said(x["_response"]) for x in load(folder, name)]
        oracle.ok(got == want, f"{what}: {name}, {len(want)} rows")
    got = [tuple(said(x["_prompt"]) + said(x["_response"])) for x in load(folder, "generate_rule_dpo")]
    oracle.ok(got == pairs and len(pairs) > 0, f"{what}: generate_rule_dpo, {len(pairs)} pairs")
    # A wanted response comes first with an empty one behind it, an unwanted one the other way round.
    got = []
    for x in load(folder, "generate_rule_kto"):
        first, second = said(x["_response"])
        got.append((said(x["_prompt"])[0], first or second, int(first != "")))
    oracle.ok(got == labelled and len(labelled) > 0, f"{what}: generate_rule_kto, {len(labelled)} labels")


with tempfile.TemporaryDirectory() as directory:
    run, folder = os.path.join(directory, "run"), os.path.join(directory, "rows")
    redistill("run", "tests/inputs/mini.json", *STAGES, "--set", f"run.dir={run}")
    redistill("export", "--format", "llama-factory", run, "--to", folder)
    compare("default", run, folder)
    with tarfile.open("tests/golden/official.tar.gz") as tar:
        tar.extractall(directory, filter="data")
    config = os.path.join(directory, "official.json")
    with open("tests/inputs/official.json") as source, open(config, "w") as target:
        target.write(source.read())
    run, folder = os.path.join(directory, "official"), os.path.join(directory, "official-rows")
    redistill("run", config, *STAGES, "--set", f"run.dir={run}")
    redistill("export", "--format", "llama-factory", run, "--to", folder)
    compare("official", run, folder)
oracle.done()
