"""Names and defaults that command lines and steps share; importing this loads no other library."""

DEVICES = ("auto", "cuda", "cpu")
PRECISIONS = ("auto", "fp16", "bf16", "fp32")
ATTENTION = ("auto", "plain", "sdpa", "varlen", "flash")  # back ends: virnucpro/models/attention.py
MODEL_SET = "virnucpro-500"
DUPLICATE_IDS = ("error", "number")  # what two records of one id are: an error, or told apart by number
SPLIT_SIZE = 10_000  # sequences in an output_N file, as the original
PRESETS = ("strict", "balanced", "sensitive")  # cut-offs of a model set's calibration, highest first
PRESET = "balanced"
