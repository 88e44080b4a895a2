"""What an engine or a file format adds to a step."""
