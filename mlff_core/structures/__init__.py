"""What goes into a potential and what comes out: batches, predictions, neighbours, and structures read from files."""
