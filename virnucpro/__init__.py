"""VirNucPro: calls viral sequences from DNA and protein language-model embeddings."""

import os

# Threads that wait for each other sleep: where another process shares the cores, spinning took 20 times the
# CPU. libgomp reads it when torch loads it, which this package comes before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
