"""Every operation of the transport, checked by every rank; rank 0 says that all agreed."""

import numpy as np

from mpi_vta.runtime.transport import mpi
from mpi_vta.runtime.transport.protocol import wait

mpi.CHUNK_BYTES = 1000  # so that what follows takes several chunks
transport = mpi.MpiTransport()
rank, size = transport.rank, transport.size
big = bytes(range(256)) * 10

assert transport.broadcast(big if rank == 0 else None) == big
assert transport.broadcast(b"" if rank == 0 else None) == b""
parts = [big[: 1000 * r + r] for r in range(size)]
assert transport.scatter(parts if rank == 0 else None) == parts[rank][:]
gathered = transport.gather(parts[rank])
assert gathered == (parts if rank == 0 else None)

ahead, behind = (rank + 1) % size, (rank - 1) % size
buffers = [np.zeros(5000, np.uint8) for _ in range(3)]
receives = [transport.irecv(buffer, behind, 7) for buffer in buffers]
sends = [transport.isend(np.full(5000, 10 * rank + i, np.uint8), ahead, 7) for i in range(3)]
for request in (*receives, *sends):
    wait(request)
assert [int(buffer[0]) for buffer in buffers] == [10 * behind + i for i in range(3)]
assert all((buffer == buffer[0]).all() for buffer in buffers)

transport.barrier()
if rank == 0:
    print(f"{size} ranks agree")
