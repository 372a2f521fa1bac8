"""Random checkpoints of DeepSeek-V3."""
from v2.checkpoint import write  # noqa: F401
