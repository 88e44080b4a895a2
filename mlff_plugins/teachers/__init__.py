"""Teachers: models and methods whose labels students learn."""
