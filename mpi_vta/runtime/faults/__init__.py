"""Faults of a running job: who is there, who is missed, who says so, and how every rank then ends.

The room looks at processes and ranks, whatever the job is: of the rest of the runtime it knows the transport only.

**Who takes part.** A rank is two processes under a launcher: the *guardian*, which the launcher started, and the rank
itself, its child. The rank's main thread does the job, and a thread of it, the *roll call*, exchanges small messages
with rank 0. So there are three places from which a fault can be seen:

==================  ===================================  =====================================================
seen by             what                                 module
==================  ===================================  =====================================================
the rank itself     exceptions, SIGTERM, SIGINT          `failure` (hooks of the process)
its roll call       a rank that is silent, a launch      `roll_call` (messages), `blame` (who is at fault),
                    that hangs, what rank 0 says         `process` (a neighbour, seen from outside)
its guardian        a rank that was killed or stopped,   `guardian`, `launch_watch` (until MPI has begun)
                    or never came; no launcher
==================  ===================================  =====================================================

What a rank is at, for the line that names it, is noted by `watchdog` in a `RankState`, memory that the guardian reads
once the rank is gone; a `RankPosition` is what every line says of it. Time is that of an `AttendedClock`, which stands
still while its owner gets no processor. `pairing` reads what a launcher has told, `leftovers` what MPICH leaves.

**What becomes of it** is a table, `transitions`: (state, event) to (next state, actions). Whoever sees something makes
an event of it and nothing else; `FaultHandler` and `Guardian` do the actions. A rank's state has two parts:

- its main thread is AT_WORK, CLOSING its files after a signal, or REPORTING a fault (its files are closed by then);
- the job is RUNNING, has been ORDERED to end by rank 0, or this rank is SPEAKING: it says the one line, and ends all.

The main thread's part decides whether a signal interrupts it, the job's part who speaks. An example, a board of rank 2
that raises:

1. Nobody catches the exception: FAULT at rank 2. (AT_WORK, RUNNING) becomes (REPORTING, RUNNING); REPORT finds that
   rank 0 was heard of lately and makes RANK_0_LISTENS: the line goes to rank 0, and rank 2 holds still for 3 s.
2. Rank 0's roll call takes it: MUST_SPEAK. RUNNING becomes SPEAKING: it says the line, orders all others to end, sends
   its own main thread SIGTERM, and lets MPI end all ranks a second later.
3. Rank 1 has the order: ORDER, (AT_WORK, RUNNING) becomes (AT_WORK, ORDERED), and its main thread gets SIGTERM. So
   SIGNAL makes it CLOSING and raises `Ended`, files are closed on the way out, and what arrives at the top is FAULT in
   (CLOSING, ORDERED): no word of its own, it waits to be ended.

If rank 0 does nothing in those 3 s, rank 2 speaks itself. Two faults at a time end the same way: of two threads or
ranks with MUST_SPEAK one moves to SPEAKING, and the other finds that state and waits.

A guardian is WATCHING, then CLEARING (what the rank had started is ended too), then OVER: it ends as its rank did, with
the rank's status or by its signal. It speaks only of what no rank can: its own that was killed, or was stopped for too
long, and another of its host that keeps MPI from beginning.
"""
