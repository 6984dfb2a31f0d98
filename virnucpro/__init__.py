"""VirNucPro: calls viral sequences from DNA and protein language-model embeddings."""

__version__ = "0.1.0"
