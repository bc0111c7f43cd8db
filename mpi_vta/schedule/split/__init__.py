"""Parts of layers: one image's work divided over several boards, exactly, and what they then tell each other.

A room of geometry: it knows graphs and windows, and the network's time of a message, but no strategy, no cost and no
plan that is being made. `mpi_vta.schedule.split_search` looks for a good division with it, `mpi_vta.schedule.assembly`
writes one down as a plan.

**The values**, from the outside in:

=================  ================================================================================================
a run of layers    consecutive layers of the graph, divided together
`Grid`             how: so many parts in rows by so many in channels, with a share for each, larger for faster boards
share              `Window` (rows, channels) of the run's last result that one part owns; shares do not overlap and
                   are all of it
`PartWindows`      what a part ``reads`` of each value from outside, ``makes`` of each value inside, and ``owns`` of
                   each value that leaves the run
`Holding`          which rank has, or wants, which window of a value
`Traffic`          the edges of a plan: which stage sends which window of which value to which
=================  ================================================================================================

All windows are of whole rows, and of whole blocks of channels, as activations are packed so in DRAM.

**How a part is found.** The share of the last result is walked backwards through the run: each operator's row in
`mpi_vta.graph.int8_ops` says what it must read to make a window, and what lies next to it that it makes as well (a
window of a pooling that would lie in the padding alone, whole groups of a convolution). Where two readers want windows
of one value, the part makes the least window that contains both. So

- nothing inside a run is exchanged: rows at a border (halo rows) are computed by each part that needs them;
- a layer that mixes channels reads all channels, so a share of channels makes sense for the last layer of a run;
- what a part makes equals the same rows and channels of the whole layer bit for bit, as it is the same arithmetic on
  the same inputs; only the padding at a border inside the picture is replaced by real rows.

An example: a 3x3 convolution with stride 1 on 8 rows, two parts in rows. The second owns rows 4 to 7, so it reads rows
3 to 7 and has padding below only. Behind another such convolution it makes rows 3 to 7 of the first, and reads 2 to 7.

**What they exchange** between runs follows from windows alone: a part takes what its own rank made, and the rest from
the parts that own it. Ranks that hold neighbouring rows so exchange only the rows at the border.

`windows` walks, `part_graph` writes a part as a graph of its own (parts that are alike give equal graphs and share a
program), `grid` has the divisions worth trying, `exchange` estimates the time of an exchange, `traffic` makes edges.
"""
