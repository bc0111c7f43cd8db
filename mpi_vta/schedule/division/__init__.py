"""The exact division of a model into stages over boards of several types, with or without replicas.

A room of numbers: it knows neither layers nor boards nor networks, and imports nothing of the other rooms of the
planner. What it needs of them comes as tables, and `mpi_vta.schedule.segment_load` makes these.

**What comes in.** A model can be cut at k cut points, 0 before the first layer and k - 1 behind the last. A *stage* is
what lies between two of them, ``(first, end)``. Boards that are alike are one `BoardType`:

=================  ===============  ==============================================================================
of a board type    shape            meaning
=================  ===============  ==============================================================================
``ranks``          n                the boards
``load_ns``        resources, k, k  for how long each resource (VTA, processor, port in, port out) of one of them is
                                    busy per image group, by stage; `NEVER_NS` where its memory is too small
``fixed_ns``       resources        the same for other duties of the board, whatever its stage: rank 0 hands out images
``alone_ns``       k, k             shortest period as a stage by itself, where no replica shares its messages
``idle_ns``        1                shortest period without a stage
``bytes_in``       k, k             what it receives, to choose between equals
=================  ===============  ==============================================================================

A `Wish` restricts the answer: a number of stages, no replicas, stages that may not be, boards that a stage must have.

**The model** is fluid. In a period of P nanoseconds a board handles ``(P - fixed) / load`` image groups, the least over
its resources, and replicas add up; a stage keeps up if its boards together handle one. An example: a stage needs 6 ms
of one board and 4 ms of another. In P = 2.4 ms they handle 0.4 and 0.6 of a group, so the two keep up, and in less they
do not: 2.4 ms is the least period of that stage on them.

**The search.** Whether boards suffice for a given P is found by a dynamic program, whether P can be shorter by
bisection: what can be done in P can be done in any longer period, so the least whole number of nanoseconds is found,
and nothing shorter exists in this model. The state of the program is

    (stages so far, if their number is wished; cut point reached; boards used of each type but the most numerous)

and its value is the least cost so far, one number in which boards of the most numerous type come first, then stages,
then bytes. The most numerous type is counted in that value and not enumerated in the state, which is why seventeen
boards of two kinds are tractable. A step adds a stage on a *mix* (so many boards of each other type) and as many boards
of the counted type as are still missing.

**What goes out.** A `Division`: stages in order with the number of boards of each type, and the period.

`fluid_model` has these values, `search` finds the division.
"""
