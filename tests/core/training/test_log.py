from __future__ import annotations

from mlff_core.training.log import TrainingLog, read_log


def test_rows_come_back_as_they_were_added(tmp_path):
    log = TrainingLog(tmp_path)
    log.add({"step": 1, "loss": 0.25})
    log.add({"step": 2, "val_loss": 0.5, "val_force_r2": 0.9})
    assert read_log(log.path) == [{"step": 1, "loss": 0.25}, {"step": 2, "val_loss": 0.5, "val_force_r2": 0.9}]


def test_rows_after_the_last_saved_state_are_dropped(tmp_path):
    log = TrainingLog(tmp_path)
    for step in (5, 10, 15):
        log.add({"step": step, "loss": 1.0 / step})
    again = TrainingLog(tmp_path, last_step=10)
    assert [row["step"] for row in again.rows] == [row["step"] for row in read_log(again.path)] == [5, 10]


def test_an_incomplete_last_line_is_ignored(tmp_path):
    log = TrainingLog(tmp_path)
    log.add({"step": 5, "loss": 0.5})
    with log.path.open("a") as stream:
        stream.write("10,0.3,12")
    assert [row["step"] for row in read_log(log.path)] == [5]


def test_a_new_log_replaces_the_old_one(tmp_path):
    TrainingLog(tmp_path).add({"step": 5, "loss": 0.5})
    assert TrainingLog(tmp_path).rows == []
