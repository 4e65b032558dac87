#!/usr/bin/env python3
"""Makes official.tar.gz: what the official code would have left behind, and the rows it would make.

Written from the description of that code (split, prompts, scoring, unique rules, thresholds, ties, rows,
labels), without its source; needs nothing but Python 3 (made with CPython 3.11).  The tasks, wordings and
answers are invented here so that every peculiarity occurs: rules repeated in a task, over tasks and over
families, rules inside other rules, rules of several lines and with "Input:" in them, ties, answers with words
around them, a list over two lines, labels with a newline, a problem with a rule missing, one without pairs.

Usage: make_official_golden.py FILE.tar.gz"""

import gzip
import io
import json
import random
import re
import sys
import tarfile

TASKS, RULES = 16, 8
FAMILIES = [  # folder, file, demonstrations, queries, margin
    ("1d_arc", "1D_arc", 3, 1, 1),
    ("acre", "acre", 4, 2, 2),
    ("list_func", "list_function", 5, 2, 3),
    ("scan", "scan", 6, 2, 4),
]
PROMPTS = {
    name: {
        "generate_rule": f"What turns each input of {name} into its output?\n",
        "apply_rule": f"Do what the rule of {name} says. Input: values are given as they are.\n" if name == "acre"
        else f"Do what the rule of {name} says.\n",
        "direct_fewshot1": f"These are examples of {name}.\n",
        "direct_fewshot2": "What is the output of this one?\n",
    }
    for name, *_ in FAMILIES
}
COLOURS = ["red", "blue", "green", "gray", "purple"]
SHAPES = ["cube", "sphere", "cylinder"]


# ---------------------------------------------------------------- tasks


def value(rng, name):
    if name == "1d_arc":
        return str([rng.choice([0, 0, 3, 5]) for _ in range(8)])
    if name == "list_func":
        return str([rng.randrange(100) for _ in range(rng.randrange(6))])
    return None


def example(rng, name):
    if name == "acre":
        objects = [f"{rng.choice(COLOURS)} metal {s}" for s in rng.sample(SHAPES, rng.randrange(1, 4))]
        return {"input": objects, "output": rng.choice(["on", "off", "undetermined"])}
    if name == "scan":
        words = " ".join(rng.choice(["dax", "wif", "lug"]) for _ in range(3))
        return {"input": words, "output": " ".join(rng.choice(["RED", "BLUE", "GREEN"]) for _ in range(3))}
    return {"input": value(rng, name), "output": value(rng, name)}


def make_tasks(rng, name, demos, queries):
    return [
        {"idx": i, "train": [example(rng, name) for _ in range(demos)], "test": [example(rng, name) for _ in range(queries)]}
        for i in range(TASKS)
    ]


# ---------------------------------------------------------------- the record

COMMON = ["Copy.", "Copy.  ", "Sort it.", "Copy. Then sort it.", "Grüße: höher", "Zzz last", "zzz last", "Input: first\nthen the rest", "Rule 1.\n\nRule 2: Copy."]

PLANNED = {  # (problem, draw): rule, skill
    (0, 0): ("Late bloomer of {name}", 0.0),  # seen first where it scores nothing: never chosen
    (13, 0): ("Late bloomer of {name}", 2.0),
    (1, 0): ("Reverse the list.", 2.0),  # one rule in two wordings
    (1, 1): ("reverse the  list.", 0.0),
}


def some_rule(rng, name, task):
    if rng.random() < 0.3:
        return rng.choice(COMMON)
    return rng.choice([f"Rule {rng.randrange(40)} of {name}", f"  Do {rng.randrange(4)} things\nto task {task}. ", f"\u6570{rng.randrange(30)} \U0001f600"])


def answer(rng, name, gold, skill):
    """A response; what it is worth is decided by reading it."""
    if rng.random() >= skill:
        return rng.choice(["no idea", gold + "!", "[]" if name in ("1d_arc", "list_func") else "On", "[9, 9", "x\ny"])
    if skill > 1:
        return gold
    if name in ("1d_arc", "list_func"):
        return rng.choice([gold] * 9 + [f"Output: {gold}.", f"The list [\n is {gold} [1]", f"{gold}\n", f"[0] or {gold}", f"{gold} ; [7]", f"[7] ; {gold}", gold.replace(" ", "")])
    return rng.choice([gold] * 16 + [gold + "\n", " " + gold, gold + ".", gold.upper() + gold])


def score_of(name, response, gold):
    if name in ("1d_arc", "list_func"):
        found = re.search(r"\[.*?\]", response)
        return found is not None and found.group(0) == gold
    return response == gold


def demos_text(task):
    return "".join(f"\nInput: {e['input']}\nOutput: {e['output']}\n" for e in task["train"])


def make_record(rng, name, problems):
    hypotheses, applications, rewards = [], [], []
    for number, task in enumerate(problems):
        prompt = PROMPTS[name]["generate_rule"] + demos_text(task) + "\n"
        ranked, here = [], []
        for draw in range(RULES - (number == 3)):
            rule = some_rule(rng, name, task["idx"])
            planned = PLANNED.get((number, draw))
            skill = planned[1] if planned else 0.0 if number == 5 else rng.choice([0.0, 0.0, 0.1, 0.6, 1.0, 1.0, 1.0])
            rule = planned[0].format(name=name) if planned else rule
            right = 0
            for e in task["train"]:
                ask = PROMPTS[name]["apply_rule"] + "\n" + rule + "\n" + f"Input: {e['input']}\n"
                said = answer(rng, name, e["output"], skill)
                applications.append({"prompt": ask, "response": said})
                right += score_of(name, said, e["output"])
            here.append({"Rule": rule, "Score": right})
            ranked.append((right, rule))
        ranked.sort(reverse=True)
        both = [[{"content": prompt, "role": "user"}, {"content": text, "role": "assistant"}] for _, text in (ranked[0], ranked[-1])]
        rewards.append({"chosen": both[0], "rejected": both[1], "score_chosen": ranked[0][0], "score_rejected": ranked[-1][0]})
        hypotheses.append(here)
    return hypotheses, applications, rewards


# ---------------------------------------------------------------- the rows


def alpaca(prompt, output):
    at = prompt.find("Input:")
    return {"instruction": prompt[:at], "input": prompt[at:], "output": output}


def make_rows(hypotheses, applications, rewards, margin):
    pairs, labelled, generate, follow = [], [], [], []
    known, preferred = set(), set()
    for here, reward in zip(hypotheses, rewards):
        prompt = reward["chosen"][0]["content"]
        fresh = []
        for h in here:
            if h["Rule"] not in known:
                known.add(h["Rule"])
                fresh.append((h["Score"], h["Rule"]))
        fresh.sort(reverse=True)
        for place, (score, rule) in enumerate(fresh):
            generate.append(alpaca(prompt, rule))
            messages = [{"content": prompt, "role": "user"}, {"content": rule, "role": "assistant"}]
            labelled.append({"messages": messages, "label": 2 * place < len(fresh)})
            for other_score, other in fresh:
                if score > other_score + margin:
                    preferred.add(rule)
                    pairs.append(
                        {
                            "conversations": [{"from": "human", "value": prompt}],
                            "chosen": {"from": "gpt", "value": rule},
                            "rejected": {"from": "gpt", "value": other},
                        }
                    )
    for a in applications:
        if any(rule in a["prompt"] for rule in preferred):
            follow.append(alpaca(a["prompt"], a["response"]))
    return pairs, labelled, generate, follow


# ---------------------------------------------------------------- the archive


def main(target):
    files, merged = {}, {"dpo": [], "kto": [], "sft": [], "apply": []}
    files["prompts.json"] = json.dumps(PROMPTS, indent=4)
    rng = random.Random(77)
    for name, file, demos, queries, margin in FAMILIES:
        tasks = make_tasks(rng, name, demos, queries)
        files[f"{file}.jsonl"] = "".join(json.dumps(t) + "\n" for t in tasks)
        shuffled = list(tasks)
        random.seed(10)
        random.shuffle(shuffled)
        cut = int(0.9 * len(shuffled))
        files[f"{file}_test.jsonl"] = "".join(json.dumps(t) + "\n" for t in shuffled[cut:])
        hypotheses, applications, rewards = make_record(rng, name, shuffled[:cut])
        for lead, content in (("all_hypo", hypotheses), ("rule_apply", applications), ("rule_reward_set", rewards)):
            files[f"record/{name}/gpt-4/{lead}_train_{RULES}_1.0.json"] = json.dumps(content, indent=4)
        made = make_rows(hypotheses, applications, rewards, margin)
        for key, rows in zip(("dpo", "kto", "sft", "apply"), made):
            merged[key] += rows
        print(name, [len(rows) for rows in made], "applications", len(applications), file=sys.stderr)
    for key, file in (("dpo", "generate_rule_dpo"), ("kto", "generate_rule_kto"), ("sft", "generate_rule_sft"), ("apply", "apply_rule_sft")):
        files[f"rows/{file}.json"] = json.dumps(merged[key], indent=4)
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path in sorted(files):
            data = files[path].encode()
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with open(target, "wb") as out, gzip.GzipFile(fileobj=out, mode="wb", mtime=0, filename="") as packed:
        packed.write(raw.getvalue())


main(sys.argv[1])
