"""Imported by the fork server of `test_faults`: reads once what every ingest would read anew, so that a kill hits the work itself."""

from pathlib import Path

import chromadb.api.rust  # noqa: F401
import onnxruntime  # noqa: F401

import ingest.cli  # noqa: F401
from ingest.vet import vet

vet(Path(__file__).parent / "kb")
