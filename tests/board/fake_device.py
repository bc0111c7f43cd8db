"""The chip behind pynq's own device hook: pynq's `allocate`, `MMIO`, `Bitstream` and `Clocks` run unchanged."""

import os
from pathlib import Path

import numpy as np
from chip import ARM32, Chip
from pynq import Device
from pynq.buffer import PynqBuffer


class FakeZynq(Device):
    """One board; `pynq.Device` finds it by probing, as XRT's are: only with XRT's environment."""

    _probe_priority_ = 1
    the_board = None

    @classmethod
    def _probe_(cls):
        if "XILINX_XRT" not in os.environ:
            return []
        cls.the_board = cls.the_board or cls("fake_zynq")
        return [cls.the_board]

    def __init__(self, tag):
        super().__init__(tag)
        self.name = "fake"
        self.capabilities = {"REGISTER_RW": True}
        self.power_up(ARM32)

    def power_up(self, arch, **options):
        """Start anew."""
        self.arch = arch
        self.chip = Chip(arch, **options)
        self.parser_given = None

    def get_bitfile_metadata(self, bitfile_name):
        return {"metadata of": bitfile_name}

    def download(self, bitstream, parser=None):
        # as pynq 3.1 and later do
        Path("loaded.xclbin").write_bytes(b"")
        with open(bitstream.bitfile_name, "rb") as file:
            self.chip.load(file.read())
        self.parser_given = parser

    def allocate(self, shape, dtype, cacheable=0, **kwargs):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        shown, address, view = self.chip.allocate(size, bool(cacheable))
        return PynqBuffer(shape, dtype, device=self, device_address=shown, bo=address, coherent=False, buffer=view)

    def flush(self, bo, offset, virtual_address, size):
        self.chip.flush(bo + offset, size)

    def invalidate(self, bo, offset, virtual_address, size):
        self.chip.invalidate(bo + offset, size)

    def read_registers(self, address, length):
        assert length == 4
        return self.chip.read(address).to_bytes(4, "little")

    def write_registers(self, address, data):
        self.chip.write(address, int.from_bytes(bytes(data), "little"))
