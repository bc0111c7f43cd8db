"""The main job where every rank but 0 is a board: no TVM, no ONNX, no pictures, no tables there."""

import os
import sys

if os.environ["PMI_RANK"] != "0":
    for name in ("tvm", "tvm_ffi", "onnx", "matplotlib", "PIL", "rich", "google"):
        sys.modules[name] = None

from mpi_vta import pipeline

sys.exit(pipeline.main(sys.argv[1:]))
