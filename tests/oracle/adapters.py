"""LoRA, rsLoRA, DoRA, PiSSA and OLoRA as PEFT has them: starts, gradients, runs, merged weights."""
import tempfile

import make_adapters_golden
import oracle

for seed in 1, 2:
    with tempfile.TemporaryDirectory() as directory:
        make_adapters_golden.make_all(directory, seed=100 * seed)
        oracle.golden_test("test_golden_adapters", directory, f"seed {seed}")
oracle.done()
