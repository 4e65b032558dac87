"""SFT and ORPO losses, gradients, metrics and whole runs: TRL's trainers, LLaMA-Factory's losses."""
import tempfile

import make_objectives_golden
import oracle

for seed in 1, 2:
    with tempfile.TemporaryDirectory() as directory:
        make_objectives_golden.make_all(directory, seed=100 * seed)
        oracle.golden_test("test_golden_objectives", directory, f"seed {seed}")
oracle.done()
