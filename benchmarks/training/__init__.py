"""What a training step costs, and what a choice of data, loss or network changes in the errors."""
