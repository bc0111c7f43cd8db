"""Energy of a job from how long its resources are busy; the planner, a run's summary and its trace all ask here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from mpi_vta.hw.board import Power


@dataclass(frozen=True)
class NetworkPower:
    """Electrical power of the network beside what the boards draw when idle.

    Attributes
    ----------
    port_w : float
        Of a board's network interface, beyond idle, while bytes pass in one direction.
    switch_w : float
        Of the switch without links.
    switch_port_w : float
        Of the switch, for each board linked to it.
    source : str
        Where the numbers come from.
    """

    port_w: float
    switch_w: float
    switch_port_w: float
    source: str


@dataclass(frozen=True)
class Usage:
    """How long the resources of one rank are busy in a job, in nanoseconds.

    Attributes
    ----------
    vta_ns : int
        VTA, launch overhead included.
    port_ns : int
        The port out and the port in, added up.
    """

    vta_ns: int = 0
    port_ns: int = 0


@dataclass(frozen=True)
class BoardEnergy:
    """Energy of one board in a job, in joules: at idle power, at active power, and of its interface beyond that."""

    idle_j: float
    running_j: float
    port_j: float

    @property
    def total_j(self) -> float:
        """All of it."""
        return fsum((self.idle_j, self.running_j, self.port_j))


@dataclass(frozen=True)
class Energy:
    """Energy of a job.

    Attributes
    ----------
    boards : tuple of BoardEnergy
        By rank.
    switch_j : float
        Of the switch, joules.
    duration_s : float
        Length of the job.
    """

    boards: tuple[BoardEnergy, ...]
    switch_j: float
    duration_s: float

    @property
    def total_j(self) -> float:
        """Of all boards and the network, joules."""
        return fsum((self.switch_j, *(board.total_j for board in self.boards)))

    @property
    def network_j(self) -> float:
        """Of the ports, beyond the boards' idle power, and of the switch, joules."""
        return fsum((self.switch_j, *(board.port_j for board in self.boards)))

    @property
    def average_w(self) -> float:
        """Total over duration, watts."""
        return self.total_j / self.duration_s

    def figures(self, images: int) -> dict[str, float]:
        """Return the figures by name: per image, on average, per watt."""
        return {
            "energy_j_per_image": self.total_j / images,
            "network_j_per_image": self.network_j / images,
            "average_power_w": self.average_w,
            "images_per_s_per_w": images / self.total_j,
        }


def board_energy(power: Power, network: NetworkPower, usage: Usage, duration_ns: int) -> BoardEnergy:
    """Return the energy of one board: active power while its VTA runs, idle power else, more while bytes pass."""
    return BoardEnergy(
        power.idle_w * (duration_ns - usage.vta_ns) / 1e9,
        power.active_w * usage.vta_ns / 1e9,
        network.port_w * usage.port_ns / 1e9,
    )


def job_energy(powers: Sequence[Power], network: NetworkPower, usages: Mapping[int, Usage], duration_ns: int) -> Energy:
    """Return the energy of a job (modelled).

    Parameters
    ----------
    powers : sequence of Power
        By rank, of every board that is switched on.
    network : NetworkPower
        Of ports and switch.
    usages : mapping of int to Usage
        By rank; a rank without one is idle.
    duration_ns : int
        Length of the job.
    """
    boards = tuple(
        board_energy(power, network, usages.get(rank, Usage()), duration_ns) for rank, power in enumerate(powers)
    )
    return Energy(boards, switch_energy_j(network, len(powers), duration_ns), duration_ns / 1e9)


def switch_energy_j(network: NetworkPower, boards: int, duration_ns: int) -> float:
    """Return the energy of the switch with some boards linked to it."""
    return (network.switch_w + network.switch_port_w * boards) * duration_ns / 1e9


def peak_power_w(powers: Sequence[Power], network: NetworkPower, usages: Mapping[int, Usage]) -> float:
    """Return a bound on the power that a job draws at once, in watts (modelled).

    All VTA that run at some time are taken to run together, and all ports that are used to be busy in both
    directions: in the steady state of a well filled job that is nearly so. See `job_energy` for the parameters.
    """
    running = [powers[rank].active_w - powers[rank].idle_w for rank, usage in usages.items() if usage.vta_ns]
    talking = sum(usage.port_ns > 0 for usage in usages.values())
    steady = [network.switch_w, network.switch_port_w * len(powers), *(power.idle_w for power in powers)]
    return fsum((*steady, *running, 2 * network.port_w * talking))
