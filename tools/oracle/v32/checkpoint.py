"""Random checkpoints of DeepSeek-V3.2."""
from v2.checkpoint import write  # noqa: F401
