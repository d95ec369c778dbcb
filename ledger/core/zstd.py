"""Zstandard, from wherever this Python has it: one choice, made once.

Python 3.14 brought ``compression.zstd``; before it the same module is the ``backports.zstd`` package.
Compression is a pure function of bytes, so it may live in the core; opening files is done elsewhere.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, ZstdDecompressor, ZstdDict, ZstdError, compress, decompress
else:
    from backports.zstd import ZstdCompressor, ZstdDecompressor, ZstdDict, ZstdError, compress, decompress

MAGIC = b"\x28\xb5\x2f\xfd"
"""The first four bytes of a Zstandard frame (RFC 8878, 3.1.1)."""

__all__ = ["MAGIC", "ZstdCompressor", "ZstdDecompressor", "ZstdDict", "ZstdError", "compress", "decompress"]
