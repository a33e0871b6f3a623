"""Options of ``vitreous submit``."""

from dataclasses import dataclass
from pathlib import Path

from vitreous.config.shared import JobOptions


@dataclass(frozen=True, kw_only=True)
class SubmitConfig(JobOptions):
    """What a job asks of SLURM.

    Attributes
    ----------
    partition : str, optional
        Partition; by default the cluster's own default.
    nodes : int
        Machines.
    gpus : int
        GPUs of each machine, with one rank each; with 0 the ranks run on processors.
    ranks_per_node : int, optional
        Ranks on each machine; by default one for each GPU.
    cores : int
        Cores of each rank.
    memory : float, optional
        Memory of each machine in GB; by default what the cluster gives.
    hours : float
        Time limit.  A job that reaches it is queued again and goes on from its checkpoint.
    account : str, optional
        Account that the time is charged to.
    qos : str, optional
        Quality of service.
    slurm : tuple of str
        More of sbatch's options, as NAME=VALUE without the hyphens.
    logs : Path
        Folder for the script and for what the job prints; all machines must see it.
    dry_run : bool
        Print the script and submit nothing.
    """

    partition: str | None = None
    nodes: int = 1
    gpus: int = 1
    ranks_per_node: int | None = None
    cores: int = 8
    memory: float | None = None
    hours: float = 24.0
    account: str | None = None
    qos: str | None = None
    slurm: tuple[str, ...] = ()
    logs: Path = Path("slurm")
    dry_run: bool = False

    @property
    def ranks(self) -> int:
        """Ranks on each machine."""
        return self.ranks_per_node or max(1, self.gpus)
