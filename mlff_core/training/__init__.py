"""Training: losses, optimisation steps, schedules, and runs that can be resumed."""
