#!/usr/bin/env python3
"""Write objectives.golden: losses, gradients and training steps as TRL and LLaMA-Factory have them.

The file beside this script was written with Python 3.11.7 and the versions of
tests/oracle/requirements.txt and requirements-alone.txt; `make check-oracle` makes others.

Models and data are random; token ids go through the libraries' own data paths as words.  The
format is that of make_llama_golden.py.  Arrays:
    config, reals, weight/NAME           as there
    rows/lengths  i64 [6, 2]             tokens of prompt, response; without BOS and EOS
    rows/tokens   i64                    of all rows, one after the other
    pairs/lengths i64 [5, 3]             prompt, chosen, rejected
    pairs/tokens  i64
    lambda        f64 [1]
    sft/loss      f64 [2]     TRL's SFTTrainer: three accumulations of two rows; all rows at once
    sft/seq2seq   f64 [1]     Seq2SeqTrainer, which LLaMA-Factory's trainer leaves its loss to
    sft/grad/NAME f32         gradient of sft/loss[0]
    full/loss, full/grad/NAME            trl.experimental.orpo, the pairs as one batch
    full/metrics  f64 [4]     its nll_loss, -log_odds_ratio, rewards/accuracies, log_odds_chosen
    response/loss, response/grad/NAME    LLaMA-Factory's
    response/metrics f64 [3]  its sft_loss, odds_ratio_loss, rewards/accuracies
    steps/options f64 [8]     rate, beta1, beta2, epsilon, weight decay, clip, warm-up share, steps
    steps/STAGE/losses        f64 [steps]  of a run by trainer.train(); STAGE: sft, full (TRL's),
    steps/STAGE/grad_norm                  response (LLaMA-Factory's loss); norms before clipping
    steps/STAGE/rate                       the learning rate of each step
    steps/STAGE/final/NAME    f32          weights after the last step
"""
import os

import numpy as np
import torch
from transformers import PrinterCallback, TrainerCallback, get_cosine_schedule_with_warmup

import references as ref

ROWS = [(5, 3), (2, 7), (9, 1), (4, 4), (1, 2), (6, 5)]
PAIRS = [(7, 3, 5), (2, 6, 1), (4, 2, 2), (1, 8, 4), (5, 1, 3)]
LAMBDA = 0.35
STEPS, WARMUP = 12, 0.25
RATE, BETA1, BETA2, ADAM_EPS, DECAY, CLIP = 4e-3, 0.9, 0.95, 1e-8, 0.1, 2.5
OPTIONS = [RATE, BETA1, BETA2, ADAM_EPS, DECAY, CLIP, WARMUP, STEPS]


def accumulated(trainer, n):
    """Loss of one step of n batches, with its gradients, as Trainer adds them up."""
    batches, items = ref.batches_of(trainer, n)
    trainer.current_gradient_accumulation_steps = n
    trainer.model.train()
    loss = sum(trainer.compute_loss(trainer.model, b, num_items_in_batch=items) for b in batches)
    loss.backward()
    return loss.item()


def sft(model, rows):
    m = ref.copy_of(model)
    split = accumulated(ref.sft_trainer(m, rows, per_device_train_batch_size=2,
                                        gradient_accumulation_steps=3), 3)
    whole = accumulated(ref.sft_trainer(ref.copy_of(model), rows,
                                        per_device_train_batch_size=len(rows)), 1)
    other = accumulated(ref.seq2seq_trainer(ref.copy_of(model), rows,
                                            per_device_train_batch_size=2), 3)
    return {"sft/loss": ("f64", [split, whole]), "sft/seq2seq": ("f64", [other]),
            **ref.gradient_arrays("sft/grad/", m)}


def full(model, pairs):
    m = ref.copy_of(model)
    trainer = ref.orpo_trainer(m, pairs, LAMBDA, per_device_train_batch_size=len(pairs))
    batches, _ = ref.batches_of(trainer, 1)
    loss, metrics = trainer.get_batch_loss_metrics(m, batches[0])
    loss.backward()
    wanted = [metrics["nll_loss"], -metrics["log_odds_ratio"], metrics["rewards/accuracies"],
              metrics["log_odds_chosen"]]
    return {"full/loss": ("f64", [loss.item()]), "full/metrics": ("f64", wanted),
            **ref.gradient_arrays("full/grad/", m)}


def response(model, pairs):
    m = ref.copy_of(model)
    trainer = ref.llama_factory_orpo(LAMBDA)
    loss, metrics = trainer.get_batch_loss_metrics(m, ref.llama_factory_batch(pairs))
    loss.backward()
    wanted = [metrics["sft_loss"], metrics["odds_ratio_loss"], metrics["rewards/accuracies"]]
    return {"response/loss": ("f64", [loss.item()]), "response/metrics": ("f64", wanted),
            **ref.gradient_arrays("response/grad/", m)}


class Watch(TrainerCallback):
    """Rates as the trainer has them, not as rounded in its log; norms are put here by run()."""

    def __init__(self):
        self.norms, self.rates = [], []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.rates.append(kwargs["optimizer"].param_groups[0]["lr"])


def run(trainer, stage):
    """A whole run.  Hugging Face's first step has rate 0, ours has not: our schedule of n steps with
    w warm-up steps is theirs with w + 1, from its second step on."""
    watch, losses = Watch(), []
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    loss_of, clip = trainer.compute_loss, trainer.accelerator.clip_grad_norm_

    def compute_loss(*args, **kwargs):
        value = loss_of(*args, **kwargs)
        losses.append((trainer.state.global_step, value.item()))
        return value

    def clip_grad_norm(*args, **kwargs):
        norm = clip(*args, **kwargs)
        watch.norms.append(norm.item())
        return norm

    trainer.compute_loss, trainer.accelerator.clip_grad_norm_ = compute_loss, clip_grad_norm
    trainer.model.zero_grad()
    trainer.create_optimizer()
    warm = int(np.ceil(WARMUP * STEPS))
    trainer.lr_scheduler = get_cosine_schedule_with_warmup(trainer.optimizer, warm + 1, STEPS)
    trainer.optimizer.step()  # nothing has a gradient; the scheduler wants a step before its own
    trainer.lr_scheduler.step()
    trainer.train()
    per_step = [sum(v for s, v in losses if s == step) for step in range(STEPS)]
    assert len(watch.norms) == len(watch.rates) == STEPS, (len(watch.norms), len(watch.rates))
    arrays = {f"steps/{stage}/losses": ("f64", per_step),
              f"steps/{stage}/grad_norm": ("f64", watch.norms),
              f"steps/{stage}/rate": ("f64", watch.rates)}
    for name, p in trainer.model.named_parameters():
        arrays[f"steps/{stage}/final/{name}"] = ("f32", p.detach().numpy())
    return arrays


def trainer_options():
    return dict(max_steps=STEPS, learning_rate=RATE, adam_beta1=BETA1, adam_beta2=BETA2,
                adam_epsilon=ADAM_EPS, weight_decay=DECAY, max_grad_norm=CLIP)


def steps(model, rows, pairs):
    more = trainer_options()
    arrays = {"steps/options": ("f64", OPTIONS)}
    arrays.update(run(ref.sft_trainer(ref.copy_of(model), rows, per_device_train_batch_size=2,
                                      gradient_accumulation_steps=3, **more), "sft"))
    arrays.update(run(ref.orpo_trainer(ref.copy_of(model), pairs, LAMBDA,
                                       per_device_train_batch_size=len(pairs), **more), "full"))
    arrays.update(run(ref.llama_factory_trainer(ref.copy_of(model), pairs, LAMBDA,
                                                per_device_train_batch_size=len(pairs), **more),
                      "response"))
    return arrays


def make_all(here, seed=4101):
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    model = ref.tiny_llama(rng, tied=True)
    rows = ref.random_items(rng, model.config.vocab_size, ROWS)
    pairs = ref.random_items(rng, model.config.vocab_size, PAIRS)
    arrays = {**ref.model_arrays(model), **ref.item_arrays("rows/", rows),
              **ref.item_arrays("pairs/", pairs), "lambda": ("f64", [LAMBDA])}
    arrays.update(sft(model, rows))
    arrays.update(full(model, pairs))
    arrays.update(response(model, pairs))
    arrays.update(steps(model, rows, pairs))
    path = os.path.join(here, "objectives.golden")
    ref.write(path, arrays)
    print("#", os.path.basename(path), os.path.getsize(path), "bytes")
    for name in "sft/loss", "sft/seq2seq", "full/loss", "full/metrics", "response/loss", \
            "response/metrics", "steps/sft/losses", "steps/full/losses", "steps/sft/grad_norm", \
            "steps/sft/rate":
        print("#", name, *arrays[name][1])


if __name__ == "__main__":
    make_all(os.path.dirname(os.path.abspath(__file__)))
