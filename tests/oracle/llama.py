"""Logits, loss, gradients and AdamW steps of tiny random Llamas, others than the committed ones."""
import tempfile

import make_llama_golden
import oracle

for seed in 1, 2, 3:
    with tempfile.TemporaryDirectory() as directory:
        make_llama_golden.make_all(directory, seed=100 * seed)
        for program in "test_golden", "test_golden_steps":
            oracle.golden_test(program, directory, f"seed {seed}")
oracle.done()
