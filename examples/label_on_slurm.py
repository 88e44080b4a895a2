"""Label a data set on a SLURM cluster: the same work as ``mlff data label``, on workers that Dask starts as jobs.

    pip install 'mlff-hub[data,teachers]' dask-jobqueue
    python label_on_slurm.py geometries.h5 labelled.h5 --teacher so3lr --jobs 20

Run it on a login node, in a folder that the compute nodes see too: batches are kept in ``labelled.h5.parts`` until the
data set is whole. Jobs that end, are preempted or killed cost the batch they were at; this script, killed and started
again, goes on where it was. Without SLURM, ``--local 2`` starts two workers on this machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mlff_core.cli.data_run import teacher_factory
from mlff_core.data.label import LabelConfig, label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--teacher", default="so3lr")
    parser.add_argument("--jobs", type=int, default=10, help="SLURM jobs, a worker each")
    parser.add_argument("--queue", help="SLURM partition")
    parser.add_argument("--walltime", default="04:00:00")
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
            # A worker leaves before SLURM kills it, so that its batch goes to another in time.
            worker_extra_args=["--lifetime", "225m", "--lifetime-stagger", "10m"],
            job_script_prologue=["export OMP_NUM_THREADS=1"],
        )
        cluster.scale(jobs=options.jobs)

    with cluster:
        report = label(
            options.source,
            options.output,
            teacher_factory(options.teacher, ()),
            LabelConfig(),
            scheduler=cluster.scheduler_address,
            on_progress=lambda now: print(f"{now.n_done}/{now.n_batches} batches, {now.n_structures} structures"),
        )
    print(f"{report.path}: {report.n_structures} structures, {report.n_failed_inputs} failed")


if __name__ == "__main__":
    main()
