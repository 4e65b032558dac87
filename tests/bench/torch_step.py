"""Training steps of transformers (+ peft, TRL) on the rows of step.c, for peers.py.

    torch_step.py MODEL ROWS key=value…

Says "ready", and then for each line of input, a number of steps, makes them and prints what step.c
prints: tokens a step, seconds a step, largest resident bytes, loss of the first and the last step.

SFT is the shortest loop there is: model(input_ids, labels).loss, backward, clipping, AdamW; no
trainer, no data loader, no padding (all rows are equally long).  ORPO's loss is that of TRL's
ORPOTrainer.  dtype=bf16 is autocast over float32 weights, which is what our bf16 is; with
mode=lora, whose base is frozen, the base is kept in bfloat16.  dtype=pure keeps all in bfloat16.
"""
import contextlib
import resource
import sys
import time
import warnings

import torch
import transformers

BOS, EOS, FIRST_LETTER = 1, 2, 3


def settings():
    s = dict(mode="full", dtype="f32", threads="2", lr="1e-5")
    s.update(a.split("=", 1) for a in sys.argv[3:])
    return s


def read_rows(path):
    with open(path) as f:
        return [[[FIRST_LETTER + ord(c) - ord("a") for c in text] for text in line.rstrip("\n").split("\t")]
                for line in f]


def sequence(prompt, response):
    ids = [BOS] + prompt + response + [EOS]
    return ids, [-100] * (1 + len(prompt)) + response + [EOS]


class Sft:
    def __init__(self, model, rows):
        pairs = [sequence(*row) for row in rows]
        self.model = model
        self.batch = dict(input_ids=torch.tensor([p[0] for p in pairs]),
                          labels=torch.tensor([p[1] for p in pairs]))
        self.tokens = sum(len(p[0]) - 1 for p in pairs)

    def loss(self):
        return self.model(**self.batch, use_cache=False).loss


class Orpo:
    """TRL's own forward pass and loss on one batch of all pairs."""

    def __init__(self, model, rows):
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer
        self.model, self.trainer = model, ORPOTrainer.__new__(ORPOTrainer)
        batch, length = {}, 0
        for k, name in enumerate(("chosen", "rejected")):
            pairs = [sequence(row[0], row[1 + k]) for row in rows]
            batch[name + "_input_ids"] = torch.tensor([p[0] for p in pairs])
            batch[name + "_labels"] = torch.tensor([p[1] for p in pairs])
            batch[name + "_attention_mask"] = torch.ones_like(batch[name + "_input_ids"])
            length += sum(len(p[0]) - 1 for p in pairs)
        self.batch, self.tokens = batch, length
        t = self.trainer
        t.beta, t.is_encoder_decoder, t.aux_loss_enabled = 0.1, False, False
        t.pad_token_id, t.padding_value, t.label_pad_token_id, t.max_length = 0, 0, -100, 1024
        t.args = ORPOConfig(output_dir="unused", beta=0.1, use_cpu=True, bf16=False, report_to=[])
        t.accelerator = type("Alone", (), {"device": torch.device("cpu"), "gather_for_metrics":
                                           staticmethod(lambda x: x)})()
        t.compute_loss_func = None

    def loss(self):
        loss, _ = self.trainer.get_batch_loss_metrics(self.model, self.batch, train_eval="train")
        return loss


def make(s, rows):
    torch.set_num_threads(int(s["threads"]))
    torch.manual_seed(1)
    base = torch.bfloat16 if s["dtype"] == "pure" or (s["dtype"] == "bf16" and s["mode"] == "lora") \
        else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=base)
    if s["mode"] == "lora":
        from peft import LoraConfig, get_peft_model
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=names,
                                                 task_type="CAUSAL_LM"))
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=float(s["lr"]), betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    return (Orpo if len(rows[0]) == 3 else Sft)(model, rows), trained, optimizer


def main():
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    s = settings()
    job, trained, optimizer = make(s, read_rows(sys.argv[2]))
    autocast = torch.autocast("cpu", torch.bfloat16) if s["dtype"] == "bf16" else contextlib.nullcontext()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = job.loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        return loss.item()

    first = step()  # what is made at first use is made
    print("ready", flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        losses = [step() for _ in range(int(line))]
        seconds = (time.perf_counter() - begun) / len(losses)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"{job.tokens}\t{seconds:.6f}\t{peak}\t{first:.6f}\t{losses[-1]:.6f}", flush=True)


main()
