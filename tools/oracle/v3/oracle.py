"""The oracle of DeepSeek-V3."""
from v2.oracle import VERSIONS, run  # noqa: F401
