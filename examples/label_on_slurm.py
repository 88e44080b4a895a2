"""Label a data set on a SLURM cluster: the same work as ``mlff data label``, on workers that Dask starts as jobs.

    pip install 'mlff-hub[data,teachers]' dask-jobqueue
    python label_on_slurm.py geometries.h5 labelled.h5 --teacher so3lr --jobs 20

Run it on a login node, in a folder that the compute nodes can access: batches are kept in ``labelled.h5.parts`` until
the data set is complete. A job that ends, is preempted or killed loses its current batch only. If this script is
killed, run it again: it continues. Without SLURM, ``--local 2`` starts two workers on this machine.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mlff_core.cli.data_run import load_teacher
from mlff_core.data.label import LabelConfig, label


def seconds(walltime: str) -> int:
    """Return the length of ``[days-]hours[:minutes[:seconds]]``, or without days ``[[hours:]minutes:]seconds``, in s.

    A number alone means minutes, as it does for SLURM.
    """
    days, dash, rest = walltime.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if len(parts) > 3 or min(parts) < 0:
        raise ValueError(walltime)
    if not dash and len(parts) < 3:
        parts = [0, *parts]
    hours, minutes, rest_seconds = (*parts, 0, 0)[:3]
    return (((int(days) if dash else 0) * 24 + hours) * 60 + minutes) * 60 + rest_seconds


def walltime(text: str) -> str:
    """Return the text if it is a valid SLURM time that is long enough for a worker."""
    try:
        length = seconds(text)
    except ValueError:
        length = 0
    if length < 300:
        raise argparse.ArgumentTypeError(f"must be five minutes or more, such as 04:00:00 or 1-12, got {text!r}")
    return text


def leaving_in_time(walltime: str) -> list[str]:
    """Return arguments with which a worker ends before SLURM kills it, so that its batch goes to another in time.

    Workers end one after the other within a twelfth of the time, the last one a fiftieth of it (or five minutes) before
    the end of the time.
    """
    spread = min(600, seconds(walltime) // 25)
    return ["--lifetime", f"{seconds(walltime) - 3 * spread // 2}s", "--lifetime-stagger", f"{spread}s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--teacher", default="so3lr")
    parser.add_argument("--jobs", type=int, default=10, help="SLURM jobs, with one worker each")
    parser.add_argument("--queue", help="SLURM partition")
    parser.add_argument("--walltime", default="04:00:00", type=walltime, help="time of a job, in any form of SLURM")
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--local", type=int, default=0, help="workers on this machine instead of jobs")
    options = parser.parse_args()

    if options.local:
        from distributed import LocalCluster

        cluster = LocalCluster(n_workers=options.local, threads_per_worker=1, dashboard_address=None)
    else:
        from dask_jobqueue import SLURMCluster

        cluster = SLURMCluster(
            queue=options.queue,
            cores=1,
            processes=1,
            memory=options.memory,
            walltime=options.walltime,
            worker_extra_args=leaving_in_time(options.walltime),
            job_script_prologue=["export OMP_NUM_THREADS=1"],
        )
        cluster.scale(jobs=options.jobs)

    with cluster:
        report = label(
            options.source,
            options.output,
            partial(load_teacher, options.teacher, {}),
            LabelConfig(),
            scheduler=cluster.scheduler_address,
            on_progress=lambda now: print(f"{now.n_done}/{now.n_batches} batches, {now.n_structures} structures"),
        )
    print(f"{report.path}: {report.n_structures} structures, {report.n_failed_inputs} failed")


if __name__ == "__main__":
    main()
