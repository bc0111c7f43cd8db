"""The resources of a board that do one thing at a time, by the names that plans, studies and summaries carry."""

from __future__ import annotations

VTA, CPU, NIC_OUT, NIC_IN = "vta", "cpu", "nic_out", "nic_in"
RESOURCES = (VTA, CPU, NIC_OUT, NIC_IN)
# as tables, sentences and pictures call them
RESOURCE_LABELS = {VTA: "VTA", CPU: "processor", NIC_OUT: "port out", NIC_IN: "port in"}
