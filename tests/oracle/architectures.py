"""Tiny models of the four architectures and their adapters, others than the committed ones."""
import tempfile

import make_architectures_golden
import oracle

for seed in 1, 2, 3:
    with tempfile.TemporaryDirectory() as directory:
        make_architectures_golden.make_all(directory, seed)
        oracle.golden_test("test_architectures", directory, f"seed {seed}")
oracle.done()
