"""The hardware: VTA's core, generated from the same configuration as compiler and simulator."""

from mpi_vta.errors import InputError


def require_amaranth() -> None:
    """Refuse if Amaranth is missing.

    Raises
    ------
    InputError
        Saying how to get it.
    """
    try:
        import amaranth  # noqa: F401
    except ModuleNotFoundError as fault:
        if fault.name != "amaranth":
            raise
        raise InputError(
            "amaranth is not installed", where="the core's generator", remedy="pip install mpi-vta[gateware]"
        ) from fault
